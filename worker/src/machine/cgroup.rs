//! What a container uses, read from the files of control groups version 1 and 2.

use super::error::{Error, Result};
use std::path::{Path, PathBuf};

/// What a container uses now and has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// With file caches that could be given back taken off.
    pub memory_bytes: u64,
    pub memory_limit_bytes: Option<u64>,
    pub cpu_ns: u64,
    /// Periods in which it wanted more processor time than it may have.
    pub cpu_throttled: u64,
    pub pids: u64,
    /// Times the kernel killed one of its processes for want of memory.
    pub oom_kills: u64,
}

/// The machine has the unified hierarchy.
pub(crate) fn is_unified(root: &Path) -> bool {
    root.join("cgroup.controllers").exists()
}

/// Swap can be limited (a kernel may count memory only).
pub(crate) fn counts_swap() -> bool {
    let root = Path::new("/sys/fs/cgroup");
    // In version 2 the runtime leaves the limit out where the file is missing.
    is_unified(root) || root.join("memory/memory.memsw.limit_in_bytes").exists()
}

/// Directories of a group, one per hierarchy.
pub(crate) fn directories(root: &Path, group: &str) -> Vec<PathBuf> {
    let group = group.trim_start_matches('/');
    if is_unified(root) {
        return vec![root.join(group)];
    }
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path().join(group));
    hierarchies.filter(|path| path.is_dir()).collect()
}

/// Read a container's metrics; absent when it has no processes.
pub(crate) fn metrics(root: &Path, group: &str) -> Result<Metrics> {
    let group = group.trim_start_matches('/');
    if is_unified(root) { unified(&root.join(group)) } else { split(root, group) }
}

fn unified(dir: &Path) -> Result<Metrics> {
    let cache = field(&dir.join("memory.stat"), "inactive_file").unwrap_or(0);
    Ok(Metrics {
        memory_bytes: number(&dir.join("memory.current"))?.saturating_sub(cache),
        memory_limit_bytes: number(&dir.join("memory.max")).ok(),
        cpu_ns: field(&dir.join("cpu.stat"), "usage_usec")? * 1000,
        cpu_throttled: field(&dir.join("cpu.stat"), "nr_throttled").unwrap_or(0),
        pids: number(&dir.join("pids.current"))?,
        oom_kills: field(&dir.join("memory.events"), "oom_kill").unwrap_or(0),
    })
}

fn split(root: &Path, group: &str) -> Result<Metrics> {
    let file = |hierarchy: &str, name: &str| root.join(hierarchy).join(group).join(name);
    let cache = field(&file("memory", "memory.stat"), "total_inactive_file").unwrap_or(0);
    // "No limit" is the largest number of whole pages.
    let limited = |limit: &u64| *limit < 1 << 62;
    Ok(Metrics {
        memory_bytes: number(&file("memory", "memory.usage_in_bytes"))?.saturating_sub(cache),
        memory_limit_bytes: number(&file("memory", "memory.limit_in_bytes")).ok().filter(limited),
        cpu_ns: number(&file("cpuacct", "cpuacct.usage"))?,
        cpu_throttled: field(&file("cpu", "cpu.stat"), "nr_throttled").unwrap_or(0),
        pids: number(&file("pids", "pids.current"))?,
        oom_kills: field(&file("memory", "memory.oom_control"), "oom_kill").unwrap_or(0),
    })
}

fn number(path: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    text.trim().parse().map_err(|_| Error::Invalid(format!("{} holds '{}', not a number", path.display(), text.trim())))
}

/// The value behind a key in a file of `key value` lines.
fn field(path: &Path, key: &str) -> Result<u64> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok());
    value.ok_or_else(|| Error::Invalid(format!("{} has no '{key}'", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn the_unified_hierarchy_is_read() {
        let root = tree(&[
            ("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n"),
            ("s/i-1/memory.current", "52428800\n"),
            ("s/i-1/memory.max", "268435456\n"),
            ("s/i-1/memory.stat", "anon 30000000\nfile 20000000\ninactive_anon 0\ninactive_file 2428800\n"),
            ("s/i-1/memory.events", "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n"),
            ("s/i-1/cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 3\nnr_throttled 2\nthrottled_usec 9\n"),
            ("s/i-1/pids.current", "4\n"),
        ]);
        let expected = Metrics {
            memory_bytes: 50_000_000,
            memory_limit_bytes: Some(268_435_456),
            cpu_ns: 1_500_000,
            cpu_throttled: 2,
            pids: 4,
            oom_kills: 1,
        };
        assert_eq!(metrics(root.path(), "/s/i-1").unwrap(), expected);
        assert!(metrics(root.path(), "/s/i-2").unwrap_err().is_absent());
    }

    #[test]
    fn the_split_hierarchies_are_read() {
        let root = tree(&[
            ("memory/s/i-1/memory.usage_in_bytes", "52428800\n"),
            ("memory/s/i-1/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/s/i-1/memory.stat", "cache 20000000\ninactive_file 1\ntotal_inactive_file 2428800\n"),
            ("memory/s/i-1/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"),
            ("cpu/s/i-1/cpu.stat", "nr_periods 3\nnr_throttled 2\nthrottled_time 900\n"),
            ("cpuacct/s/i-1/cpuacct.usage", "1500000\n"),
            ("pids/s/i-1/pids.current", "4\n"),
        ]);
        let read = metrics(root.path(), "/s/i-1").unwrap();
        assert_eq!((read.memory_bytes, read.memory_limit_bytes, read.oom_kills), (50_000_000, None, 0));
        assert_eq!((read.cpu_ns, read.cpu_throttled, read.pids), (1_500_000, 2, 4));
        assert_eq!(directories(root.path(), "/s/i-1").len(), 4);
    }
}
