//! The bytes of the database file.
//!
//! ```text
//! "SLIPWAY-ADVISORY" | format u32 | 0 u32 | body length u64 | SHA-256 of the body | body
//! body = advisories u32 | packages u32 | imported i32 | newest i32
//!      | advisory offsets (n + 1) × u32 | package offsets (p + 1) × u32 | advisories | packages
//! ```
//! Integers are little-endian; inside the entries they are varints, and texts have their length before them.

use crate::advisory::{Affected, Event, EventKind};
use crate::ecosystem::Ecosystem;
use crate::severity::Severity;

pub const MAGIC: &[u8; 16] = b"SLIPWAY-ADVISORY";

/// Raised when an older program could no longer read the file; the remedy is a new import.
pub const FORMAT: u32 = 1;

pub const HEADER_BYTES: usize = 16 + 4 + 4 + 8 + 32;

/// Appends values to a buffer.
#[derive(Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn number(&mut self, mut number: u32) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// A count of things in memory; all are bounded far below 2³².
    pub fn count(&mut self, count: usize) {
        self.number(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub fn texts(&mut self, texts: &[String]) {
        self.count(texts.len());
        for text in texts {
            self.text(text);
        }
    }

    pub fn affected(&mut self, affected: &Affected) {
        self.0.push(affected.severity.code());
        self.count(affected.ranges.len());
        for events in &affected.ranges {
            self.count(events.len());
            for event in events {
                self.0.push(kind_code(event.kind));
                self.text(&event.version);
            }
        }
        self.texts(&affected.versions);
    }
}

/// Takes values from the front of a slice; `None` past its end or on nonsense.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn number(&mut self) -> Option<u32> {
        let mut number: u32 = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            number |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A count of entries that follow, each at least one byte long.
    pub fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    pub fn text(&mut self) -> Option<&'a str> {
        let length = self.count()?;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    pub fn texts(&mut self) -> Option<Vec<String>> {
        let count = self.count()?;
        (0..count).map(|_| self.text().map(str::to_owned)).collect()
    }

    pub fn affected(&mut self, ecosystem: Ecosystem, name: &str) -> Option<Affected> {
        let severity = Severity::from_code(self.byte()?)?;
        let ranges = (0..self.count()?)
            .map(|_| (0..self.count()?).map(|_| self.event()).collect())
            .collect::<Option<_>>()?;
        Some(Affected {
            ecosystem,
            name: name.to_owned(),
            severity,
            ranges,
            versions: self.texts()?,
        })
    }

    fn event(&mut self) -> Option<Event> {
        let kind = kind_of(self.byte()?)?;
        Some(Event::new(kind, self.text()?))
    }

    /// Goes over an [`Affected`] without keeping it.
    pub fn skip_affected(&mut self) -> Option<()> {
        Severity::from_code(self.byte()?)?;
        for _ in 0..self.count()? {
            for _ in 0..self.count()? {
                kind_of(self.byte()?)?;
                self.text()?;
            }
        }
        self.skip_texts()
    }

    pub fn skip_texts(&mut self) -> Option<()> {
        for _ in 0..self.count()? {
            self.text()?;
        }
        Some(())
    }
}

fn kind_code(kind: EventKind) -> u8 {
    match kind {
        EventKind::Introduced => 1,
        EventKind::After => 2,
        EventKind::Fixed => 3,
        EventKind::LastAffected => 4,
        EventKind::Limit => 5,
    }
}

fn kind_of(code: u8) -> Option<EventKind> {
    Some(match code {
        1 => EventKind::Introduced,
        2 => EventKind::After,
        3 => EventKind::Fixed,
        4 => EventKind::LastAffected,
        5 => EventKind::Limit,
        _ => return None,
    })
}
