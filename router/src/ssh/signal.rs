//! Signals by name as SSH has them, by number as the worker wants them.

use russh::Sig;

/// Linux's number; `None` for a name that nobody knows.
pub fn number(signal: &Sig) -> Option<u32> {
    Some(match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        Sig::Custom(name) if name == "USR2" => 12,
        Sig::Custom(name) if name == "WINCH" => 28,
        Sig::Custom(_) => return None,
    })
}
