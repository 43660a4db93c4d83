//! Judges a folder by hand: `check_tree FOLDER [SOURCE…]`; lists the packages when no source of advisories is given.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use slipway_advisories::load::import;
use slipway_advisories::{Database, Date, Preflight, collect, is_wanted, judge};

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let Some((folder, sources)) = arguments.split_first() else {
        eprintln!("usage: check_tree FOLDER [SOURCE…]");
        return ExitCode::from(2);
    };
    let mut paths = Vec::new();
    walk(folder, folder, &mut paths);
    let locks = collect(
        paths
            .iter()
            .map(|path| (path.as_str(), move || std::fs::read(folder.join(path)))),
    );
    for problem in &locks.problems {
        println!("W: {problem}");
    }
    if sources.is_empty() {
        for package in &locks.packages {
            let (line, development) = (
                package.line.unwrap_or(0),
                if package.development {
                    " (development)"
                } else {
                    ""
                },
            );
            println!(
                "{}:{line}\t{}{development}\t{}",
                package.file,
                package.purl(),
                package.via.join(" > ")
            );
        }
        return ExitCode::SUCCESS;
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let today = Date::from_unix(now);
    let database = match import(sources, today) {
        Ok((bytes, _)) => Database::from_bytes(bytes).expect("just written"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let verdict = judge(&locks.packages, &database, &Preflight::default(), today);
    print!("{verdict}");
    ExitCode::from(u8::from(verdict.is_refused()))
}

fn walk(root: &Path, folder: &Path, paths: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(root, &path, paths),
            Ok(kind) if kind.is_file() && is_wanted(&name) => paths.push(name),
            _ => {}
        }
    }
}
