//! The files inside a zip or tar.gz archive, bounded.

use std::io::{Read, Seek};

/// Files in one archive; all of OSV has some 900 000 records.
pub const ENTRIES_MAX: usize = 2_000_000;

/// Unpacked bytes of one archive: all of OSV is near 4 GB, and a zip bomb must end somewhere.
pub const UNPACKED_BYTES_MAX: u64 = 16 << 30;

/// Files that hold no record are not unpacked.
pub fn is_record(name: &str) -> bool {
    [".json", ".yaml", ".yml"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// Calls `each` with the name and the bytes of every record, of at most `file_bytes_max` plus one byte.
pub fn zip(
    archive: impl Read + Seek,
    file_bytes_max: usize,
    mut each: impl FnMut(&str, &[u8]),
) -> Result<(), String> {
    let mut archive =
        zip::ZipArchive::new(archive).map_err(|error| format!("not a zip archive: {error}"))?;
    if archive.len() > ENTRIES_MAX {
        return Err(format!("more than {ENTRIES_MAX} files"));
    }
    let mut left = UNPACKED_BYTES_MAX;
    let mut bytes = Vec::new();
    for at in 0..archive.len() {
        let mut file = archive
            .by_index(at)
            .map_err(|error| format!("file {at}: {error}"))?;
        let name = file
            .name()
            .map(|name| name.into_owned())
            .map_err(|error| format!("file {at}: {error}"))?;
        if file.is_dir() || !is_record(&name) {
            continue;
        }
        read_bounded(&mut file, &mut bytes, file_bytes_max, &mut left)
            .map_err(|error| format!("{name}: {error}"))?;
        each(&name, &bytes);
    }
    Ok(())
}

/// The same for a gzipped tar archive.
pub fn tar_gz(
    archive: impl Read,
    file_bytes_max: usize,
    mut each: impl FnMut(&str, &[u8]),
) -> Result<(), String> {
    // Bytes between records count too, so a bomb of one huge foreign file ends as well.
    let unpacked = flate2::read::MultiGzDecoder::new(archive).take(UNPACKED_BYTES_MAX);
    let mut archive = tar::Archive::new(unpacked);
    let mut left = UNPACKED_BYTES_MAX;
    let mut bytes = Vec::new();
    for (at, file) in archive
        .entries()
        .map_err(|error| format!("not a tar.gz archive: {error}"))?
        .enumerate()
    {
        let mut file = file.map_err(|error| format!("file {at}: {error}"))?;
        let name = String::from_utf8_lossy(&file.path_bytes()).into_owned();
        if at >= ENTRIES_MAX {
            return Err(format!("more than {ENTRIES_MAX} files"));
        }
        if !file.header().entry_type().is_file() || !is_record(&name) {
            continue;
        }
        read_bounded(&mut file, &mut bytes, file_bytes_max, &mut left)
            .map_err(|error| format!("{name}: {error}"))?;
        each(&name, &bytes);
    }
    Ok(())
}

fn read_bounded(
    file: &mut impl Read,
    bytes: &mut Vec<u8>,
    file_bytes_max: usize,
    left: &mut u64,
) -> Result<(), String> {
    bytes.clear();
    // One byte more than allowed shows the parser that the file is too large.
    let read = file
        .take(file_bytes_max as u64 + 1)
        .read_to_end(bytes)
        .map_err(|error| error.to_string())?;
    *left = left
        .checked_sub(read as u64)
        .ok_or_else(|| format!("the archive unpacks to more than {UNPACKED_BYTES_MAX} bytes"))?;
    Ok(())
}
