//! The only room that touches files: imports sources, saves and opens the database.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use crate::archive;
use crate::database::{Builder, Counts, DATABASE_BYTES_MAX, Database, DatabaseError};
use crate::date::Date;
use crate::friends;
use crate::osv::{self, RECORD_BYTES_MAX};

/// Folders inside folders; GitHub's tree (`advisories/github-reviewed/2025/07/GHSA-…`) has five.
const DEPTH_MAX: usize = 12;

/// Why an import, a save or a load failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{what} {path}")]
    Io {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{path}: {what}")]
    Source { path: PathBuf, what: String },
    #[error(
        "{path}: no advisory in it; give OSV archives (zip, tar.gz), folders of OSV records, or the FriendsOfPHP tree"
    )]
    Empty { path: PathBuf },
    #[error("{path}: {source}")]
    Database {
        path: PathBuf,
        source: DatabaseError,
    },
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LoadError {
    let path = path.to_owned();
    move |source| LoadError::Io { what, path, source }
}

/// Reads sources (a folder, `.zip`, `.tar.gz`, `.json` or `.yaml` each) into one database.
///
/// The whole set is given each time: what a source no longer has is no longer in the database.
pub fn import(sources: &[impl AsRef<Path>], today: Date) -> Result<(Vec<u8>, Counts), LoadError> {
    let mut builder = Builder::new();
    for source in sources {
        let source = source.as_ref();
        let before = builder.seen();
        import_source(source, &mut builder)?;
        if builder.seen() == before {
            return Err(LoadError::Empty {
                path: source.to_owned(),
            });
        }
    }
    let path = sources
        .first()
        .map(|source| source.as_ref().to_owned())
        .unwrap_or_default();
    builder
        .finish(today)
        .map_err(|what| LoadError::Source { path, what })
}

fn import_source(source: &Path, builder: &mut Builder) -> Result<(), LoadError> {
    let failed = |what: String| LoadError::Source {
        path: source.to_owned(),
        what,
    };
    if fs::metadata(source).map_err(io("open", source))?.is_dir() {
        return walk(source, source, 0, builder);
    }
    let name = source.to_string_lossy();
    let open = || {
        File::open(source)
            .map(BufReader::new)
            .map_err(io("open", source))
    };
    if name.ends_with(".zip") {
        archive::zip(open()?, RECORD_BYTES_MAX, |name, bytes| {
            take(name, bytes, builder)
        })
        .map_err(failed)
    } else if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        archive::tar_gz(open()?, RECORD_BYTES_MAX, |name, bytes| {
            take(name, bytes, builder)
        })
        .map_err(failed)
    } else if archive::is_record(&name) {
        take_file(source, &name, builder)
    } else {
        Err(failed(
            "not a folder, .zip, .tar.gz, .json or .yaml".to_owned(),
        ))
    }
}

fn walk(root: &Path, folder: &Path, depth: usize, builder: &mut Builder) -> Result<(), LoadError> {
    let mut entries: Vec<fs::DirEntry> = fs::read_dir(folder)
        .and_then(Iterator::collect)
        .map_err(io("list", folder))?;
    // The order of a folder is chance; the database must not depend on it.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(io("look at", &path))?;
        // Links are not followed: they could lead out of the folder or around in it.
        if kind.is_dir() && depth < DEPTH_MAX && entry.file_name() != ".git" {
            walk(root, &path, depth + 1, builder)?;
        } else if kind.is_file() {
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            if archive::is_record(&name) {
                take_file(&path, &name, builder)?;
            } else if name.ends_with(".zip") || name.ends_with(".tar.gz") {
                import_source(&path, builder)?;
            }
        }
    }
    Ok(())
}

fn take_file(path: &Path, name: &str, builder: &mut Builder) -> Result<(), LoadError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io("open", path))?;
    file.take(RECORD_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(io("read", path))?;
    take(name, &bytes, builder);
    Ok(())
}

/// One file of a source: OSV as JSON or YAML, or an entry of FriendsOfPHP.
pub fn take(name: &str, bytes: &[u8], builder: &mut Builder) {
    let records = if name.ends_with(".json") {
        osv::read(bytes)
    } else if bytes.len() > RECORD_BYTES_MAX {
        Err(format!("larger than {RECORD_BYTES_MAX} bytes"))
    } else if bytes
        .split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(b"reference:"))
    {
        friends::read(name, bytes).map(|advisory| vec![osv::Record::Advisory(advisory)])
    } else if bytes
        .split(|byte| *byte == b'\n')
        .any(|line| line.starts_with(b"affected:") || line.starts_with(b"withdrawn:"))
    {
        serde_yaml::from_slice(bytes)
            .map_err(|error| error.to_string())
            .and_then(|value| osv::read_value(&value))
    } else {
        // A source's own settings (.travis.yml and the like) are no records.
        return;
    };
    match records {
        Ok(records) => records.into_iter().for_each(|record| builder.add(record)),
        Err(error) => builder.broken(name, &error),
    }
}

/// Writes the database so that a reader sees the old one or the new one, also after a power cut.
pub fn save(path: &Path, bytes: &[u8]) -> Result<(), LoadError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    let mut file =
        tempfile::NamedTempFile::new_in(folder).map_err(io("create a file in", folder))?;
    file.write_all(bytes).map_err(io("write", path))?;
    file.as_file().sync_all().map_err(io("sync", path))?;
    file.persist(path)
        .map_err(|error| io("replace", path)(error.error))?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io("sync", folder))
}

/// Opens a database file.
pub fn open(path: &Path) -> Result<Database, LoadError> {
    let file = File::open(path).map_err(io("open", path))?;
    let size = file.metadata().map_err(io("look at", path))?.len();
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).min(DATABASE_BYTES_MAX));
    file.take(DATABASE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(io("read", path))?;
    Database::from_bytes(bytes).map_err(|source| LoadError::Database {
        path: path.to_owned(),
        source,
    })
}
