//! A program of one function: what `slipway __git-hook` does.
fn main() -> std::process::ExitCode {
    slipway_git::hook_main(std::env::args_os().skip(1))
}
