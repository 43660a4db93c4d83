//! Looking into a running container from outside, never led astray by a link that stands in it.

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};
use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// The root directory of a container, held open.
#[derive(Debug)]
pub struct Inside {
    root: OwnedFd,
}

impl Inside {
    /// Of the container whose first process this is.
    pub fn of(pid: u32) -> std::io::Result<Inside> {
        Inside::at(Path::new(&format!("/proc/{pid}/root")))
    }

    /// Of any directory that a container can write to.
    pub fn at(directory: &Path) -> std::io::Result<Inside> {
        Ok(Inside { root: std::fs::File::open(directory)?.into() })
    }

    /// The last bytes of a plain file; links are not followed, pipes are not waited for.
    pub fn tail(&self, path: &str, bytes_max: u64) -> std::io::Result<Vec<u8>> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let mut file = std::fs::File::from(openat2(self.root.as_fd(), path, how)?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        file.seek(SeekFrom::Start(meta.len().saturating_sub(bytes_max)))?;
        let mut bytes = vec![];
        file.take(bytes_max).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The last lines of a text file; none when it cannot be read.
    pub fn last_lines(&self, path: &str, count: usize) -> Vec<String> {
        let bytes = self.tail(path, 16 << 10).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].iter().map(|line| line.chars().take(500).collect()).collect()
    }
}

/// A directory below `root`, made where it is absent and given to `owner`; no part of the way may be a link.
pub fn directory_below(root: &Path, path: &str, owner: u32) -> std::io::Result<OwnedFd> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
    let mut at: OwnedFd = std::fs::File::open(root)?.into();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        own(&at, owner)?;
    }
    for part in parts {
        if part == ".." {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        let made = match mkdirat(&at, part, Mode::from_bits_truncate(0o755)) {
            Ok(()) => true,
            Err(nix::errno::Errno::EEXIST) => false,
            Err(error) => return Err(error.into()),
        };
        at = nix::fcntl::openat(&at, part, flags, Mode::empty())?;
        if made {
            own(&at, owner)?;
        }
    }
    Ok(at)
}

fn own(directory: &OwnedFd, owner: u32) -> std::io::Result<()> {
    std::os::unix::fs::fchown(directory, Some(owner), Some(owner))
}

/// What listens in a network namespace: TCP ports and named sockets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listening {
    pub ports: BTreeSet<u16>,
    pub sockets: BTreeSet<String>,
}

impl Listening {
    /// In the network of this process.
    pub fn of(pid: u32) -> Listening {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
        let ports = tcp(&read("tcp")).chain(tcp(&read("tcp6"))).filter(|s| s.listens).map(|s| s.local_port).collect();
        Listening { ports, sockets: unix_listeners(&read("unix")) }
    }
}

/// One line of `/proc/net/tcp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSocket {
    pub local_port: u16,
    pub remote_port: u16,
    pub listens: bool,
    pub established: bool,
    /// Bytes that the other side has not taken yet.
    pub unsent: u64,
    pub inode: u64,
}

/// All of `/proc/net/tcp` or `tcp6`.
pub fn tcp(table: &str) -> impl Iterator<Item = TcpSocket> + use<> {
    let sockets: Vec<TcpSocket> = table.lines().skip(1).filter_map(tcp_line).collect();
    sockets.into_iter()
}

fn tcp_line(line: &str) -> Option<TcpSocket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let port = |field: &str| u16::from_str_radix(field.rsplit(':').next()?, 16).ok();
    let state = *fields.get(3)?;
    let unsent = u64::from_str_radix(fields.get(4)?.split(':').next()?, 16).ok()?;
    Some(TcpSocket {
        local_port: port(fields.get(1)?)?,
        remote_port: port(fields.get(2)?)?,
        listens: state == "0A",
        established: state == "01",
        unsent,
        inode: fields.get(9)?.parse().ok()?,
    })
}

fn unix_listeners(table: &str) -> BTreeSet<String> {
    // Num RefCount Protocol Flags Type St Inode Path; the flag says that it accepts.
    let accepts = |fields: &Vec<&str>| fields.get(3) == Some(&"00010000") && fields.len() > 7;
    table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).filter(accepts).map(|f| f[7].to_string()).collect()
}

/// Inodes of connected stream sockets without a name: the near ends of connections to named ones, and socket pairs.
pub fn unix_unnamed_connected(table: &str) -> BTreeSet<u64> {
    let fits = |f: &Vec<&str>| f.len() == 7 && f[4] == "0001" && f[5] == "03";
    table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()).filter(fits).filter_map(|f| f[6].parse().ok()).collect()
}

/// Inodes of the sockets that a process holds.
pub fn socket_inodes(pid: u32) -> BTreeSet<u64> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets.filter_map(|t| t.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

/// Children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_container_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("run")).unwrap();
        std::fs::write(dir.path().join("run/exits"), "1 2\n3 4\n").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("run/link")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("etc")).unwrap();
        let inside = Inside::at(dir.path()).unwrap();
        assert_eq!(inside.last_lines("/run/exits", 1), ["3 4"]);
        assert!(inside.tail("/run/link", 10).is_err());
        assert!(inside.tail("/etc/passwd", 10).is_err());
        assert!(inside.tail("/../../etc/passwd", 10).is_err());
        let owner = nix::unistd::getuid().as_raw();
        assert!(directory_below(dir.path(), "etc/x", owner).is_err());
        assert!(directory_below(dir.path(), "../x", owner).is_err());
        directory_below(dir.path(), "files/a/b", owner).unwrap();
        assert!(dir.path().join("files/a/b").is_dir());
    }

    #[test]
    fn the_kernels_tables_are_read() {
        let tcp_table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000 10000        0 4711 1 0 100 0 0 10 0\n\
             1: 0100007F:A1B2 0100007F:22B8 01 0000000A:00000000 00:00000000 00000000 10000        0 4712 1 0 100 0 0 10 0\n";
        let sockets: Vec<TcpSocket> = tcp(tcp_table).collect();
        assert_eq!((sockets[0].listens, sockets[0].local_port, sockets[0].inode), (true, 80, 4711));
        assert_eq!((sockets[1].established, sockets[1].remote_port, sockets[1].unsent), (true, 8888, 10));
        let unix_table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
             0000000000000000: 00000002 00000000 00010000 0001 01 99 /run/app.sock\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 100\n\
             0000000000000000: 00000003 00000000 00000000 0001 03 101 /run/app.sock\n";
        assert_eq!(unix_listeners(unix_table), ["/run/app.sock".to_string()].into());
        assert_eq!(unix_unnamed_connected(unix_table), [100].into());
    }
}
