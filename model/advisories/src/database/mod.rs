//! All advisories in one indexed file that is loaded as it lies on disk.

mod builder;
mod codec;

pub use builder::{Builder, Counts};

use sha2::{Digest, Sha256};

use crate::advisory::{Advisory, Affected};
use crate::date::Date;
use crate::ecosystem::Ecosystem;
use crate::severity::Severity;
pub(crate) use codec::HEADER_BYTES;
use codec::{FORMAT, MAGIC, Reader};

/// Larger files are refused; a hundred thousand advisories take some 40 MB.
pub const DATABASE_BYTES_MAX: usize = 1 << 30;

/// Data older than this is stale: every source that we import changes at least weekly.
pub const STALE_AFTER_DAYS: u32 = 30;

/// Why bytes are no advisory database.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    #[error("this is no advisory database: import one with `slipway advisories import`")]
    NotADatabase,
    #[error(
        "the advisory database has format {0}, this program reads format {FORMAT}: import it again with `slipway advisories import`"
    )]
    OtherFormat(u32),
    #[error(
        "the advisory database is damaged ({0}): import it again with `slipway advisories import`"
    )]
    Damaged(&'static str),
}

/// Advisories, found by package.
#[derive(Debug)]
pub struct Database {
    bytes: Vec<u8>,
    advisories: usize,
    packages: usize,
    imported: Date,
    newest: Option<Date>,
    stale_after_days: u32,
}

/// An entry of the index: where an advisory stands, and which versions it touches.
#[derive(Debug)]
pub(crate) struct Hit {
    pub advisory: u32,
    pub affected: Affected,
}

impl Database {
    /// Takes the bytes of a database file.
    ///
    /// The checksum says that they are the bytes which [`Builder::finish`] wrote and read back whole.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Database, DatabaseError> {
        let damaged = DatabaseError::Damaged;
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(MAGIC) {
            return Err(DatabaseError::NotADatabase);
        }
        let format = number_at(&bytes, 16).ok_or(DatabaseError::NotADatabase)?;
        if format != FORMAT {
            return Err(DatabaseError::OtherFormat(format));
        }
        if number_at(&bytes, 20) != Some(0) {
            return Err(damaged("its head is not ours"));
        }
        let body = &bytes[HEADER_BYTES..];
        let length = bytes
            .get(24..32)
            .and_then(|length| length.try_into().ok())
            .map(u64::from_le_bytes);
        if length != u64::try_from(body.len()).ok() || body.len() > DATABASE_BYTES_MAX {
            return Err(damaged("it is cut short"));
        }
        if Sha256::digest(body).as_slice() != &bytes[32..64] {
            return Err(damaged("its checksum does not fit"));
        }
        let field = |at: usize| number_at(body, at).ok_or(damaged("it has no head"));
        let (advisories, packages) = (field(0)? as usize, field(4)? as usize);
        let (imported, newest) = (field(8)?.cast_signed(), field(12)?.cast_signed());
        let database = Database {
            advisories,
            packages,
            imported: Date::from_days(imported),
            newest: (newest != i32::MIN).then(|| Date::from_days(newest)),
            stale_after_days: STALE_AFTER_DAYS,
            bytes,
        };
        // Each entry has its offset: the counts cannot be larger than the file.
        if advisories.max(packages) > database.body().len() / 4 {
            return Err(damaged("its counts do not fit"));
        }
        Ok(database)
    }

    /// After how many days without news the data count as stale.
    pub fn with_stale_after(mut self, days: u32) -> Database {
        self.stale_after_days = days;
        self
    }

    /// The number of advisories.
    pub fn len(&self) -> usize {
        self.advisories
    }

    pub fn is_empty(&self) -> bool {
        self.advisories == 0
    }

    /// The number of packages that some advisory names.
    pub fn packages(&self) -> usize {
        self.packages
    }

    /// The day of the import.
    pub fn imported(&self) -> Date {
        self.imported
    }

    /// The day of the newest advisory; importing an old archive today does not make it new.
    pub fn date(&self) -> Date {
        self.newest.unwrap_or(self.imported).min(self.imported)
    }

    pub fn is_stale(&self, today: Date) -> bool {
        today.days_since(self.date()) > self.stale_after_days
    }

    /// The advisories of a package, whatever its version.
    pub fn of_package(&self, ecosystem: Ecosystem, name: &str) -> Vec<(Advisory, Affected)> {
        let hits = self.hits(ecosystem, &ecosystem.normal_name(name));
        hits.into_iter()
            .filter_map(|hit| Some((self.advisory(hit.advisory)?, hit.affected)))
            .collect()
    }

    /// The index entries of a package in its normal spelling.
    pub(crate) fn hits(&self, ecosystem: Ecosystem, name: &str) -> Vec<Hit> {
        let key = (ecosystem.code(), name);
        let (mut low, mut high) = (0, self.packages);
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(mut reader) = self.package(middle) else {
                return Vec::new();
            };
            let (Some(code), Some(found)) = (reader.byte(), reader.text()) else {
                return Vec::new();
            };
            match (code, found).cmp(&key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    return read_hits(&mut reader, ecosystem, name).unwrap_or_default();
                }
            }
        }
        Vec::new()
    }

    /// The text of an advisory; what it affects stands in the index.
    pub(crate) fn advisory(&self, at: u32) -> Option<Advisory> {
        let mut reader = Reader(self.slice(
            self.advisory_table(),
            self.advisories,
            at as usize,
            self.advisory_region(),
        )?);
        Some(Advisory {
            id: reader.text()?.to_owned(),
            summary: reader.text()?.to_owned(),
            url: reader.text()?.to_owned(),
            aliases: reader.texts()?,
            labels: reader.texts()?,
            severity: Severity::from_code(reader.byte()?)?,
            modified: None,
            affected: Vec::new(),
        })
    }

    fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }

    fn advisory_table(&self) -> usize {
        16
    }

    fn package_table(&self) -> usize {
        self.advisory_table() + 4 * (self.advisories + 1)
    }

    fn advisory_region(&self) -> usize {
        self.package_table() + 4 * (self.packages + 1)
    }

    fn package_region(&self) -> Option<usize> {
        let length = number_at(self.body(), self.advisory_table() + 4 * self.advisories)?;
        self.advisory_region().checked_add(length as usize)
    }

    fn package(&self, at: usize) -> Option<Reader<'_>> {
        self.slice(
            self.package_table(),
            self.packages,
            at,
            self.package_region()?,
        )
        .map(Reader)
    }

    fn slice(&self, table: usize, count: usize, at: usize, region: usize) -> Option<&[u8]> {
        if at >= count {
            return None;
        }
        let begin = region.checked_add(number_at(self.body(), table + 4 * at)? as usize)?;
        let end = region.checked_add(number_at(self.body(), table + 4 * (at + 1))? as usize)?;
        self.body().get(begin..end)
    }

    /// Goes over every entry; done when a file is made, so that nothing later finds one unreadable.
    fn check(&self) -> Option<()> {
        for at in 0..self.advisories {
            let mut reader = Reader(self.slice(
                self.advisory_table(),
                self.advisories,
                at,
                self.advisory_region(),
            )?);
            for _ in 0..3 {
                reader.text()?;
            }
            reader.skip_texts()?;
            reader.skip_texts()?;
            Severity::from_code(reader.byte()?)?;
        }
        for at in 0..self.packages {
            let mut reader = self.package(at)?;
            reader.byte()?;
            reader.text()?;
            for _ in 0..reader.count()? {
                ((reader.number()? as usize) < self.advisories).then_some(())?;
                reader.skip_affected()?;
            }
        }
        Some(())
    }
}

fn read_hits(reader: &mut Reader<'_>, ecosystem: Ecosystem, name: &str) -> Option<Vec<Hit>> {
    (0..reader.count()?)
        .map(|_| {
            Some(Hit {
                advisory: reader.number()?,
                affected: reader.affected(ecosystem, name)?,
            })
        })
        .collect()
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at.checked_add(4)?)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}
