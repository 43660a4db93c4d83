//! Making everything that a container needs before its first process: trees, mounts, network, configuration.

use super::record::Record;
use super::{Machine, Trouble};
use crate::app::scripts::{CONFIG, INIT};
use crate::app::{self, Inside};
use crate::inside::directory_below;
use crate::machine::rootfs::{self, Access};
use crate::machine::{Bind, ContainerSpec, Tmpfs, write_name_files};
use slipway_model::VolumeId;
use slipway_model::instance::{InstanceSpec, MountSource, WEB_UID};
use slipway_model::recipe::Recipe;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// `/tmp`, `/var/tmp`, logs and ephemeral mounts of one instance together (environment.md §7).
const SCRATCH_MB: u64 = 8192;
/// Sockets, pid files and the supervisor's state.
const RUN_MB: u64 = 64;
/// Logs that we write from outside: no process inside may replace them by a link.
pub const OUTER_LOGS: [&str; 3] = ["cron.log", "deploy.log", "post-deploy.log"];
/// Where an image says what it is.
const RECIPE: &str = "etc/slipway/recipe.json";

/// What stands when an instance is prepared.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub inside: Inside,
    pub env: Vec<String>,
    pub netns: PathBuf,
    /// The host's directory that is `/var/log` inside.
    pub logs: PathBuf,
    pub recipe: Option<Recipe>,
}

/// The volume with everything ephemeral of an instance.
pub fn scratch_volume(spec: &InstanceSpec) -> VolumeId {
    format!("vol-scratch-{}", spec.id).parse().expect("an instance id makes a volume id")
}

impl Machine {
    /// Idempotent; the container has no process meanwhile.
    pub(super) async fn prepare(&self, record: &Record) -> Result<Prepared, Trouble> {
        let (prepared, container) = self.lay_out(record).await?;
        self.containers.create(&container).await?;
        Ok(prepared)
    }

    /// The same without touching the container: for one that runs already.
    pub(super) async fn adopt(&self, record: &Record) -> Result<Prepared, Trouble> {
        Ok(self.lay_out(record).await?.0)
    }

    async fn lay_out(&self, record: &Record) -> Result<(Prepared, ContainerSpec), Trouble> {
        let spec = &record.spec;
        let place = self.mounts(spec);
        let base = record.id_map_base;
        let image = self.trees.image(&spec.image).await?;
        let rootfs = place.join("root");
        mount(&image, &rootfs, true, base)?;
        let mut binds = vec![];
        if let Some(slug) = &spec.slug {
            let slug = self.trees.slug(slug).await?;
            mount(&slug, &place.join("app"), true, base)?;
            binds.push(Bind { from: place.join("app"), to: "/app".into(), readonly: true });
        }
        let logs = self.scratch(spec, &place, base, &mut binds).await?;
        self.data(spec, &place, base, &mut binds).await?;
        let recipe: Option<Recipe> = std::fs::read(image.join(RECIPE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let inside = app::inside(spec, recipe.as_ref(), &image).map_err(Trouble::Configuration)?;
        let directory = self.instance_directory(&spec.id);
        let config = directory.join("etc");
        write_config(&config, &inside, base + WEB_UID)?;
        binds.push(Bind { from: config, to: CONFIG.into(), readonly: true });
        let names = write_name_files(&directory.join("names"), &spec.hostname, spec.address, self.network.gateway())?;
        binds.extend(names.into_iter().map(|(from, to)| Bind { from, to: to.into(), readonly: true }));
        // Sites behind an inspecting proxy of the operator are trusted where the machine trusts them.
        let bundle = "/etc/ssl/certs/ca-certificates.crt";
        if Path::new(bundle).is_file() && image.join(&bundle[1..]).is_file() {
            binds.push(Bind { from: bundle.into(), to: bundle.into(), readonly: true });
        }
        let target = |bind: &&Bind| !bind.to.starts_with("/app/") && !bind.to.starts_with("/run/") && !image.join(&bind.to[1..]).exists();
        if let Some(missing) = binds.iter().find(target) {
            return Err(Trouble::Configuration(format!("the image of {} has no {}", spec.recipe, missing.to)));
        }
        let attachment = self.network.attach(spec.id.as_str(), spec.address, base).await?;
        let env = app::environment(spec, &inside);
        let container = ContainerSpec {
            id: spec.id.to_string(),
            rootfs,
            args: vec!["/bin/sh".into(), INIT.into()],
            env: env.clone(),
            cwd: "/".into(),
            uid: WEB_UID,
            gid: WEB_UID,
            hostname: spec.hostname.clone(),
            binds,
            tmpfs: vec![Tmpfs { path: "/run".into(), size_mb: RUN_MB, mode: 0o755, uid: WEB_UID, gid: WEB_UID }],
            netns: Some(attachment.netns.clone()),
            limits: spec.limits.clone(),
            id_map_base: base,
            labels: Default::default(),
            readonly_rootfs: true,
        };
        Ok((Prepared { inside, env, netns: attachment.netns, logs, recipe }, container))
    }

    /// `/tmp`, `/var/tmp`, `/var/log` and ephemeral mounts.
    async fn scratch(&self, spec: &InstanceSpec, place: &Path, base: u32, binds: &mut Vec<Bind>) -> Result<PathBuf, Trouble> {
        let volume = self.volumes.ensure(&scratch_volume(spec), SCRATCH_MB).await?;
        let logs = volume.join("log");
        for (name, to) in [("tmp", "/tmp"), ("vartmp", "/var/tmp"), ("log", "/var/log")] {
            let from = volume.join(name);
            std::fs::create_dir_all(&from)?;
            std::fs::set_permissions(&from, std::fs::Permissions::from_mode(0o1777))?;
            mount(&from, &place.join(name), false, base)?;
            binds.push(Bind { from: place.join(name), to: to.into(), readonly: false });
        }
        for name in OUTER_LOGS {
            // In a sticky directory of another user nobody inside can take them away.
            let file = logs.join(name);
            if file.symlink_metadata().is_err() {
                std::fs::OpenOptions::new().write(true).create_new(true).open(&file)?;
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))?;
            }
        }
        for (number, wanted) in spec.mounts.iter().enumerate() {
            if let MountSource::Temporary { .. } = &wanted.source {
                let held = directory_below(&volume, &format!("mount-{number}"), WEB_UID)?;
                self.bind_held(&held, &place.join(format!("t{number}")), base)?;
                binds.push(Bind { from: place.join(format!("t{number}")), to: wanted.path.clone(), readonly: false });
            }
        }
        Ok(logs)
    }

    /// Volumes, the outer mounts first.
    async fn data(&self, spec: &InstanceSpec, place: &Path, base: u32, binds: &mut Vec<Bind>) -> Result<(), Trouble> {
        for (number, wanted) in spec.mounts.iter().enumerate() {
            let MountSource::Volume { volume, sub_path, size_mb } = &wanted.source else { continue };
            let root = self.volumes.ensure(volume, *size_mb).await?;
            // The application may have put a link on the way: the directory is held while it is mounted.
            let held = directory_below(&root, sub_path, WEB_UID)
                .map_err(|error| Trouble::Configuration(format!("the mount {} cannot use '{sub_path}' of its volume: {error}", wanted.path)))?;
            let target = place.join(format!("v{number}"));
            self.bind_held(&held, &target, base)?;
            binds.push(Bind { from: target, to: wanted.path.clone(), readonly: false });
        }
        binds.sort_by_key(|bind| bind.to.matches('/').count());
        Ok(())
    }

    fn bind_held(&self, held: &std::os::fd::OwnedFd, target: &Path, base: u32) -> Result<(), Trouble> {
        mount(Path::new(&format!("/proc/self/fd/{}", held.as_raw_fd())), target, false, base)
    }

    /// Mounts of data volumes, which must not be busy while a volume is put back.
    pub(super) fn release_data(&self, spec: &InstanceSpec) -> Result<(), Trouble> {
        for number in 0..spec.mounts.len() {
            rootfs::unmount(&self.mounts(spec).join(format!("v{number}")))?;
        }
        Ok(())
    }

    /// Everything of an instance but its data goes.
    pub(super) async fn remove(&self, record: &Record) -> Result<(), Trouble> {
        let spec = &record.spec;
        self.containers.delete(spec.id.as_str()).await?;
        self.network.detach(spec.id.as_str()).await?;
        self.resolver.remove(spec.address);
        let place = self.mounts(spec);
        for mounted in rootfs::mounts_below(&place)? {
            rootfs::unmount(&mounted)?;
        }
        let _ = std::fs::remove_dir_all(&place);
        self.volumes.destroy(&scratch_volume(spec)).await?;
        let directory = self.instance_directory(&spec.id);
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn mounts(&self, spec: &InstanceSpec) -> PathBuf {
        self.places.mounts().join(spec.id.as_str())
    }
}

fn mount(source: &Path, target: &Path, readonly: bool, base: u32) -> Result<(), Trouble> {
    std::fs::create_dir_all(target)?;
    Ok(rootfs::bind(source, target, Access { readonly, id_map_base: Some(base) })?)
}

/// Written anew each time, readable by nobody but the container's own user: it holds secrets.
fn write_config(directory: &Path, inside: &Inside, owner: u32) -> std::io::Result<()> {
    std::fs::create_dir_all(directory.join("fronts"))?;
    for file in &inside.files {
        let path = directory.join(&file.path);
        std::fs::create_dir_all(path.parent().unwrap_or(directory))?;
        write_owned(&path, &file.text, if file.executable { 0o500 } else { 0o400 }, owner)?;
    }
    for (path, target) in &inside.links {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(directory))?;
        let _ = std::fs::remove_file(&path);
        symlink(target, &path)?;
    }
    own_directories(directory, owner)
}

/// A file of the configuration directory, in one step.
pub fn write_owned(path: &Path, text: &str, mode: u32, owner: u32) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    std::fs::write(&new, text)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))?;
    chown(&new, Some(owner), Some(owner))?;
    std::fs::rename(&new, path)
}

fn own_directories(directory: &Path, owner: u32) -> std::io::Result<()> {
    chown(directory, Some(owner), Some(owner))?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            own_directories(&entry.path(), owner)?;
        }
    }
    Ok(())
}
