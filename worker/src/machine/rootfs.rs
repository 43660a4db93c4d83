//! Idmapped bind mounts: files lie on disk with the image's own ids and are mapped when they are mounted.

use super::error::{Error, Result};
use super::places::Places;
use nix::libc;
use nix::sched::CloneFlags;
use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// Ids that a container has: 0 to 65535, shifted by its base.
pub const ID_COUNT: u32 = 65_536;

/// What every image must hold, because its root filesystem is read-only when a container is made on it.
pub const DIRECTORIES_NEEDED: &[&str] = &["proc", "sys", "dev", "run", "tmp", "app", "mnt"];
/// Files that are covered by the ones of [`super::write_name_files`].
pub const FILES_NEEDED: &[&str] = &["etc/resolv.conf", "etc/hosts", "etc/hostname"];

/// How a tree is bound into place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Nothing below can be written through this mount.
    pub readonly: bool,
    /// Id 0 on disk appears as this id; `None` leaves the ids alone.
    pub id_map_base: Option<u32>,
}

/// Bind `source` (a directory or a file) to `target`, which exists. Asked again for a mounted target it does nothing.
///
/// setuid bits and device nodes are dead below it: no container of ours needs either.
pub fn bind(source: &Path, target: &Path, access: Access) -> Result<()> {
    if is_mounted(target)? {
        return Ok(());
    }
    let tree = open_tree(source).map_err(Error::io("open for mounting", source))?;
    let mut attributes = MountAttributes { set: libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV, ..Default::default() };
    if access.readonly {
        attributes.set |= libc::MOUNT_ATTR_RDONLY;
    }
    let namespace = access.id_map_base.map(user_namespace).transpose()?;
    if let Some(namespace) = &namespace {
        attributes.set |= libc::MOUNT_ATTR_IDMAP;
        attributes.userns_fd = namespace.as_raw_fd() as u64;
    }
    set_attributes(&tree, &attributes).map_err(Error::io("map the ids of", source))?;
    move_mount(&tree, target).map_err(Error::io("mount on", target))
}

/// A tree of layers with a writable top, for builds: what is written lies in `top/upper`, with shifted ids on disk.
///
/// An overlay as a whole cannot be idmapped, so each layer is, below `<target>.layers`. The top is not: the kernel works
/// there as root, which no container's map knows. [`unmount_overlay`] takes all away.
/// `layers` come topmost first; `target` and `top` exist.
pub fn mount_overlay(layers: &[PathBuf], top: &Path, target: &Path, id_map_base: u32) -> Result<()> {
    if is_mounted(target)? {
        return Ok(());
    }
    let directory = layers_of(target);
    let mut options = OsString::from("lowerdir=");
    for (number, layer) in layers.iter().enumerate() {
        let place = directory.join(number.to_string());
        std::fs::create_dir_all(&place).map_err(Error::io("make", &place))?;
        bind(layer, &place, Access { readonly: true, id_map_base: Some(id_map_base) })?;
        options.push(if number > 0 { ":" } else { "" });
        options.push(&place);
    }
    for (name, dir) in [(",upperdir=", "upper"), (",workdir=", "work")] {
        let dir = top.join(dir);
        std::fs::create_dir_all(&dir).map_err(Error::io("make", &dir))?;
        options.push(name);
        options.push(&dir);
    }
    for path in [target, top] {
        if path.as_os_str().as_bytes().iter().any(|b| b",:\\".contains(b)) {
            return Err(Error::Invalid(format!("{} cannot be part of an overlay: it has a comma, colon or backslash", path.display())));
        }
    }
    // The root directory of the whole is the top's.
    let upper = top.join("upper");
    std::os::unix::fs::chown(&upper, Some(id_map_base), Some(id_map_base)).map_err(Error::io("give away", &upper))?;
    let flags = nix::mount::MsFlags::MS_NOSUID | nix::mount::MsFlags::MS_NODEV;
    nix::mount::mount(Some("overlay"), target, Some("overlay"), flags, Some(options.as_os_str()))
        .map_err(|e| Error::io("mount an overlay on", target)(e.into()))
}

/// Undo [`mount_overlay`]; `top` keeps what was written.
pub fn unmount_overlay(target: &Path) -> Result<()> {
    unmount(target)?;
    let directory = layers_of(target);
    for mount in mounts_below(&directory)? {
        unmount(&mount)?;
    }
    // Only empty directories go: what might be mounted there still is never deleted.
    for place in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
        let _ = std::fs::remove_dir(place.path());
    }
    let _ = std::fs::remove_dir(&directory);
    Ok(())
}

fn layers_of(target: &Path) -> PathBuf {
    let mut path = target.as_os_str().to_owned();
    path.push(".layers");
    path.into()
}

/// Take a mount away; where it is busy, it goes when its last user does. Without a mount there, nothing happens.
pub fn unmount(target: &Path) -> Result<()> {
    use nix::errno::Errno;
    use nix::mount::{MntFlags, umount2};
    // The same place may be mounted on more than once after a crash.
    for _ in 0..16 {
        match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => continue,
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(Errno::EBUSY) => match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                Ok(()) => continue,
                Err(e) => return Err(Error::io("unmount", target)(e.into())),
            },
            Err(e) => return Err(Error::io("unmount", target)(e.into())),
        }
    }
    Ok(())
}

/// Something is mounted exactly there.
pub fn is_mounted(target: &Path) -> Result<bool> {
    Ok(mounts_below(target)?.iter().any(|mount| mount == target))
}

/// Mount points at or below a directory, deepest first, as unmounting needs them.
pub fn mounts_below(prefix: &Path) -> Result<Vec<PathBuf>> {
    let list = Path::new("/proc/self/mountinfo");
    let text = std::fs::read(list).map_err(Error::io("read", list))?;
    let mut found: Vec<PathBuf> = mount_points(&text).filter(|mount| mount.starts_with(prefix)).collect();
    found.sort();
    found.reverse();
    Ok(found)
}

fn mount_points(mountinfo: &[u8]) -> impl Iterator<Item = PathBuf> + '_ {
    mountinfo.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4)).map(unescape)
}

/// `\040` and its kin, as the kernel writes white space.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\' && tail.len() >= 3)
            .then(|| std::str::from_utf8(&tail[..3]).ok().and_then(|t| u8::from_str_radix(t, 8).ok()))
            .flatten();
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// A user namespace with 0→base; kept open for the life of the process, because making one costs a child process.
pub fn user_namespace(base: u32) -> Result<Arc<OwnedFd>> {
    static KNOWN: Mutex<BTreeMap<u32, Arc<OwnedFd>>> = Mutex::new(BTreeMap::new());
    if base == 0 || base.checked_add(ID_COUNT).is_none() {
        return Err(Error::Invalid(format!("{base} cannot be the first id of a container: it takes 1 to {}", u32::MAX - ID_COUNT)));
    }
    let mut known = KNOWN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(namespace) = known.get(&base) {
        return Ok(namespace.clone());
    }
    let namespace = Arc::new(make_user_namespace(base)?);
    known.insert(base, namespace.clone());
    Ok(namespace)
}

/// The user namespace of a base as a path, the same one for every container and network namespace of that base, also
/// after a restart of ours: a process that enters a container later must be at home in both.
pub(crate) fn pinned_user_namespace(places: &Places, base: u32) -> Result<PathBuf> {
    static PINNING: Mutex<()> = Mutex::new(());
    let _turn = PINNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let directory = places.run.join("userns");
    let pin = directory.join(base.to_string());
    if is_mounted(&pin)? {
        return Ok(pin);
    }
    let namespace = user_namespace(base)?;
    std::fs::create_dir_all(&directory).map_err(Error::io("make", &directory))?;
    pin_namespace(Path::new(&format!("/proc/self/fd/{}", namespace.as_raw_fd())), &pin)?;
    Ok(pin)
}

/// A network namespace that belongs to the user namespace of a base, under a name.
pub(crate) fn make_network_namespace(places: &Places, base: u32, pin: &Path) -> Result<()> {
    let home = pinned_user_namespace(places, base)?;
    let home = std::fs::File::open(&home).map_err(Error::io("open", &home))?;
    with_helper(
        move || {
            nix::sched::setns(&home, CloneFlags::CLONE_NEWUSER)?;
            Ok(nix::sched::unshare(CloneFlags::CLONE_NEWNET)?)
        },
        |proc| pin_namespace(&proc.join("ns/net"), pin),
    )
}

/// Keep a namespace alive by a mount on an empty file.
fn pin_namespace(namespace: &Path, pin: &Path) -> Result<()> {
    std::fs::write(pin, "").map_err(Error::io("make", pin))?;
    let flags = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(namespace), pin, None::<&str>, flags, None::<&str>).map_err(|e| Error::io("mount a namespace on", pin)(e.into()))
}

fn make_user_namespace(base: u32) -> Result<OwnedFd> {
    with_helper(
        || Ok(nix::sched::unshare(CloneFlags::CLONE_NEWUSER)?),
        |proc| {
            for map in ["uid_map", "gid_map"] {
                let file = proc.join(map);
                std::fs::write(&file, format!("0 {base} {ID_COUNT}\n")).map_err(Error::io("write", &file))?;
            }
            let namespace = proc.join("ns/user");
            Ok(OwnedFd::from(std::fs::File::open(&namespace).map_err(Error::io("open", &namespace))?))
        },
    )
}

/// A child that enters other namespaces and waits there while we look at it through `/proc/<pid>`.
fn with_helper<T>(
    enter: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
    look: impl FnOnce(&Path) -> Result<T>,
) -> Result<T> {
    let helper = Path::new("/bin/cat");
    let mut command = Command::new(helper);
    command.current_dir("/").env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    before_exec(&mut command, enter);
    let mut child = command.spawn().map_err(Error::io("start in another namespace", helper))?;
    let result = look(&PathBuf::from(format!("/proc/{}", child.id())));
    drop(child.stdin.take());
    let _ = child.kill();
    let _ = child.wait();
    result
}

#[allow(unsafe_code, reason = "setns and unshare are async-signal-safe and touch no memory of ours")]
fn before_exec(command: &mut Command, enter: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static) {
    unsafe {
        command.pre_exec(enter);
    }
}

/// `struct mount_attr` of the kernel.
#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn c_path(path: &Path) -> std::io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| std::io::ErrorKind::InvalidInput.into())
}

#[allow(unsafe_code, reason = "libc has no wrapper; the path outlives the call and the new descriptor is ours alone")]
fn open_tree(source: &Path) -> std::io::Result<OwnedFd> {
    let path = c_path(source)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[allow(unsafe_code, reason = "libc has no wrapper; the kernel only reads the structure")]
fn set_attributes(tree: &OwnedFd, attributes: &MountAttributes) -> std::io::Result<()> {
    let empty = c"";
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH,
            attributes as *const MountAttributes,
            size_of::<MountAttributes>(),
        )
    };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[allow(unsafe_code, reason = "libc has no wrapper; both paths outlive the call")]
fn move_mount(tree: &OwnedFd, target: &Path) -> std::io::Result<()> {
    let path = c_path(target)?;
    let empty = c"";
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_white_space_are_read_back() {
        let text = b"36 35 98:0 / /data/a\\040b rw,noatime - ext4 /dev/root rw\n37 35 98:0 / /data rw - ext4 /dev/root rw\n";
        let points: Vec<PathBuf> = mount_points(text).collect();
        assert_eq!(points, [PathBuf::from("/data/a b"), PathBuf::from("/data")]);
    }

    #[test]
    fn no_container_gets_the_hosts_own_ids() {
        assert!(user_namespace(0).is_err());
        assert!(user_namespace(u32::MAX).is_err());
    }
}
