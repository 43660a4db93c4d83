//! From an SSH user name and a key to one container of the route table.

use slipway_model::hosts::{parse_ssh_user, ssh_user};
use slipway_model::ids::EnvironmentId;
use slipway_model::route::{RouteEnvironment, RouteTable, ShellTarget};

/// A key as it is compared: type and bytes, without the comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyLine(String);

impl KeyLine {
    pub fn new(line: &str) -> Option<KeyLine> {
        let mut words = line.split_ascii_whitespace();
        Some(KeyLine(format!("{} {}", words.next()?, words.next()?)))
    }

    fn is(&self, line: &str) -> bool {
        line.strip_prefix(self.0.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
    }
}

/// Where a guest wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    environment: EnvironmentId,
    container: Option<String>,
    written: String,
}

/// The container that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub environment: EnvironmentId,
    pub project: String,
    pub target: ShellTarget,
}

/// `<environment id>[--<app>[--<worker>]][.<instance>]`
pub fn wish(user: &str) -> Option<Wish> {
    let name = match user.rsplit_once('.') {
        Some((name, instance)) if !instance.is_empty() && instance.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => user,
    };
    let (environment, container) = parse_ssh_user(name)?;
    Some(Wish { environment, container, written: user.to_string() })
}

/// The user's name, when the key opens any container of the table.
pub fn known_user(table: &RouteTable, wish: Option<&Wish>, key: &KeyLine) -> Option<String> {
    let of = |environment: &RouteEnvironment| environment.shells.iter().find_map(|target| user_of(target, key));
    // The environment that is asked for first: mostly the answer is there.
    let near = wish.and_then(|wish| environment(table, &wish.environment)).and_then(of);
    near.or_else(|| table.environments.iter().find_map(of))
}

fn user_of(target: &ShellTarget, key: &KeyLine) -> Option<String> {
    target.keys.iter().find(|(line, _)| key.is(line)).map(|(_, user)| user.clone())
}

fn environment<'a>(table: &'a RouteTable, id: &EnvironmentId) -> Option<&'a RouteEnvironment> {
    let at = table.environments.binary_search_by(|environment| environment.id.cmp(id)).ok()?;
    table.environments.get(at)
}

/// The container, or the words for the guest.
pub fn find(table: &RouteTable, wish: Option<&Wish>, user: &str, written: &str, key: &KeyLine) -> Result<Found, String> {
    let nowhere = |name: &str| {
        format!(
            "Hello {user}, you successfully authenticated, but could not connect to service {name} \
             (reason: service doesn't exist or you do not have access to it)"
        )
    };
    let Some(wish) = wish else { return Err(nowhere(written)) };
    let Some(environment) = environment(table, &wish.environment) else { return Err(nowhere(&wish.written)) };
    let open: Vec<&ShellTarget> = environment.shells.iter().filter(|target| user_of(target, key).is_some()).collect();
    let found = |target: &ShellTarget| Found { environment: environment.id.clone(), project: environment.project.to_string(), target: target.clone() };
    match &wish.container {
        Some(container) => open.iter().find(|target| target.container == *container).map(|target| found(target)).ok_or_else(|| nowhere(&wish.written)),
        None => {
            let mut names: Vec<&str> = open.iter().map(|target| target.container.as_str()).filter(|name| !name.contains("--")).collect();
            names.sort_unstable();
            names.dedup();
            match names.as_slice() {
                [] => Err(nowhere(&wish.written)),
                [one] => open.iter().find(|target| target.container == *one).map(|target| found(target)).ok_or_else(|| nowhere(&wish.written)),
                _ => {
                    let mut text = format!("Hello {user}, this environment has several applications. Say which one:\n");
                    let mut all: Vec<&str> = open.iter().map(|target| target.container.as_str()).collect();
                    all.sort_unstable();
                    all.dedup();
                    for name in all {
                        text.push_str(&format!("  {}\n", ssh_user(&environment.id, name)));
                    }
                    Err(text)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_model::ids::Epoch;
    use slipway_model::route::{Gate, HoldLimits};

    fn table(containers: &[&str]) -> RouteTable {
        let shells = containers.iter().map(|container| ShellTarget {
            container: container.to_string(),
            instance: "i-1".parse().unwrap(),
            worker: "127.0.0.1:1".into(),
            keys: vec![("ssh-ed25519 AAAA ada@home".into(), "ada".into())],
        });
        RouteTable {
            version: 1,
            environments: vec![RouteEnvironment {
                id: "shop-main-abc1234".parse().unwrap(),
                project: "shop".parse().unwrap(),
                epoch: Epoch(1),
                gate: Gate::Open,
                release: "rel-1".parse().unwrap(),
                routes: Vec::new(),
                pools: Default::default(),
                hold: HoldLimits::default(),
                cluster: "shop-main-abc1234".into(),
                restrict_robots: false,
                shells: shells.collect(),
            }],
        }
    }

    fn check(containers: &[&str], user: &str, key: &str) -> Result<String, String> {
        let key = KeyLine::new(key).unwrap();
        let wish = wish(user);
        find(&table(containers), wish.as_ref(), "ada", user, &key).map(|found| found.target.container)
    }

    #[test]
    fn one_application_needs_no_name_and_several_are_listed() {
        let key = "ssh-ed25519 AAAA";
        assert_eq!(check(&["app"], "shop-main-abc1234", key).unwrap(), "app");
        assert_eq!(check(&["app", "app--queue"], "shop-main-abc1234", key).unwrap(), "app");
        assert_eq!(check(&["app", "app--queue"], "shop-main-abc1234--app--queue", key).unwrap(), "app--queue");
        assert_eq!(check(&["app"], "shop-main-abc1234--app.0", key).unwrap(), "app");
        let list = check(&["app", "api"], "shop-main-abc1234", key).unwrap_err();
        assert!(list.contains("  shop-main-abc1234--api\n  shop-main-abc1234--app\n"), "{list}");
    }

    #[test]
    fn what_is_absent_and_what_is_closed_get_the_same_words() {
        let key = "ssh-ed25519 AAAA";
        let absent = check(&["app"], "shop-main-abc1234--nope", key).unwrap_err();
        assert!(absent.contains("could not connect to service shop-main-abc1234--nope"));
        for (user, key) in [("shop-main-abc1234--app", "ssh-ed25519 BBBB"), ("other--app", key), ("UPPER", key), ("shop-main-abc1234--app", "ssh-ed25519 AAA")] {
            assert!(check(&["app"], user, key).unwrap_err().contains("service doesn't exist or you do not have access"), "{user}");
        }
    }
}
