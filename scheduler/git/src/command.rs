//! What an SSH client asks for: `git-upload-pack '/<project>.git'`, and nothing else.

use crate::service::Service;
use slipway_model::ids::ProjectId;

/// Longer requests are no repository of ours.
const COMMAND_BYTES_MAX: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("Slipway speaks git here and gives no shell: git clone, git fetch and git push are all there is.")]
    NotGit,
    #[error("Slipway does not serve git archives: clone the repository instead.")]
    Archive,
    #[error("Slipway does not serve Git LFS: keep large files in a mount of the application.")]
    Lfs,
    #[error("This is no path of a repository: it looks like '<project>.git'.")]
    Path,
}

/// The service and the project of a command line as git clients write it.
pub fn parse(line: &[u8]) -> Result<(Service, ProjectId), CommandError> {
    if line.len() > COMMAND_BYTES_MAX {
        return Err(CommandError::NotGit);
    }
    let line = std::str::from_utf8(line).map_err(|_| CommandError::NotGit)?;
    let rest = line.strip_prefix("git-").or_else(|| line.strip_prefix("git ")).ok_or(CommandError::NotGit)?;
    let (verb, argument) = rest.split_once(' ').unwrap_or((rest, ""));
    let service = match verb {
        "upload-pack" => Service::UploadPack,
        "receive-pack" => Service::ReceivePack,
        "upload-archive" => return Err(CommandError::Archive),
        "lfs-authenticate" | "lfs-transfer" => return Err(CommandError::Lfs),
        _ => return Err(CommandError::NotGit),
    };
    let path = unquoted(argument).ok_or(CommandError::Path)?;
    Ok((service, project_of_path(path).ok_or(CommandError::Path)?))
}

/// One argument, in single quotes or of harmless characters; the quotes hold no quote.
fn unquoted(argument: &str) -> Option<&str> {
    let inner = match argument.strip_prefix('\'') {
        Some(rest) => rest.strip_suffix('\'')?,
        None => argument,
    };
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/.-_~".contains(c);
    (!inner.is_empty() && inner.chars().all(harmless)).then_some(inner)
}

/// `/<project>.git`, `<project>.git`, with or without `.git` and an ending slash.
pub fn project_of_path(path: &str) -> Option<ProjectId> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.strip_suffix(".git").unwrap_or(path).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_services_with_one_repository_path_are_understood() {
        let project: ProjectId = "k4wtvm7ogzr5s".parse().unwrap();
        for (line, service) in [
            ("git-upload-pack '/k4wtvm7ogzr5s.git'", Service::UploadPack),
            ("git-upload-pack 'k4wtvm7ogzr5s.git'", Service::UploadPack),
            ("git upload-pack 'k4wtvm7ogzr5s'", Service::UploadPack),
            ("git-receive-pack 'k4wtvm7ogzr5s.git/'", Service::ReceivePack),
            ("git-receive-pack k4wtvm7ogzr5s.git", Service::ReceivePack),
        ] {
            assert_eq!(parse(line.as_bytes()), Ok((service, project.clone())), "{line}");
        }
        for (line, error) in [
            ("git-upload-archive 'x.git'", CommandError::Archive),
            ("git-lfs-authenticate x.git upload", CommandError::Lfs),
            ("", CommandError::NotGit),
            ("bash -i", CommandError::NotGit),
            ("scp -t /", CommandError::NotGit),
            ("git-shell", CommandError::NotGit),
            ("git-upload-pack", CommandError::Path),
            ("git-upload-pack ''", CommandError::Path),
            ("git-upload-pack 'a'; id", CommandError::Path),
            ("git-upload-pack 'a' 'b'", CommandError::Path),
            ("git-upload-pack '../../etc'", CommandError::Path),
            ("git-upload-pack '/a/b.git'", CommandError::Path),
            ("git-upload-pack --strict", CommandError::Path),
            ("git-upload-pack 'a'\\''b.git'", CommandError::Path),
            ("git-receive-pack $(id).git", CommandError::Path),
            ("git-receive-pack 'x.git\n'", CommandError::Path),
        ] {
            assert_eq!(parse(line.as_bytes()), Err(error), "{line}");
        }
        assert_eq!(parse(b"git-upload-pack '\xff.git'"), Err(CommandError::NotGit));
        assert_eq!(parse(&[b'a'; 10_000]), Err(CommandError::NotGit));
    }
}
