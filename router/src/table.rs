//! The route table as the router reads it: versions only rise, the best route of a host and path.

use crate::redirect::Redirects;
use slipway_model::route::{Gate, HoldLimits, PoolMember, RouteAction, RouteEnvironment, RouteTable, SiteRoute};
use slipway_model::{EnvironmentId, Epoch, ReleaseId};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

/// Why a table was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableRefused {
    /// Versions only rise.
    #[error("route table {offered} is older than {have}, which this router has already served; it stays with {have}")]
    Lower {
        /// What came.
        offered: u64,
        /// What is served.
        have: u64,
    },
}

/// An entry of a newer table that breaks the rules; the former entry stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryIgnored {
    /// Whose entry.
    pub environment: EnvironmentId,
    /// The epoch it came with.
    pub epoch: Epoch,
    /// Why it was not taken.
    pub why: &'static str,
}

/// One route, ready to be matched.
#[derive(Debug)]
pub struct CompiledRoute {
    /// As it came.
    pub site: SiteRoute,
    /// `redirects.paths`.
    pub redirects: Redirects,
}

/// One environment of a table; a request keeps the one it was matched with until its end.
#[derive(Debug)]
pub struct EnvironmentView {
    source: RouteEnvironment,
    routes: Vec<CompiledRoute>,
    pools: BTreeMap<String, Arc<[PoolMember]>>,
}

impl EnvironmentView {
    fn new(source: RouteEnvironment) -> Self {
        let routes = source
            .routes
            .iter()
            .map(|site| CompiledRoute { site: site.clone(), redirects: Redirects::new(&site.redirects) })
            .collect();
        let pools = source.pools.iter().map(|(name, members)| (name.clone(), members.clone().into())).collect();
        Self { source, routes, pools }
    }

    /// Its id.
    pub fn id(&self) -> &EnvironmentId {
        &self.source.id
    }
    /// The gate's epoch.
    pub fn epoch(&self) -> Epoch {
        self.source.epoch
    }
    /// Open or frozen.
    pub fn gate(&self) -> Gate {
        self.source.gate
    }
    /// What is served when the gate is open.
    pub fn release(&self) -> &ReleaseId {
        &self.source.release
    }
    /// Bounds of what is held.
    pub fn hold(&self) -> &HoldLimits {
        &self.source.hold
    }
    /// The members of a pool; empty when there is none.
    pub fn pool(&self, name: &str) -> &[PoolMember] {
        self.pools.get(name).map_or(&[], |members| members)
    }
    /// As it came: cluster name, robots, shells.
    pub fn entry(&self) -> &RouteEnvironment {
        &self.source
    }
}

/// What a request was matched with.
#[derive(Debug, Clone)]
pub struct Matched {
    /// Whose route.
    pub environment: Arc<EnvironmentView>,
    index: usize,
}

impl Matched {
    /// The route.
    pub fn route(&self) -> &CompiledRoute {
        &self.environment.routes[self.index]
    }
    /// The members behind the route; empty for a redirect, or when nothing runs.
    pub fn members(&self) -> &[PoolMember] {
        match &self.route().site.action {
            RouteAction::Upstream { pool } => self.environment.pool(pool),
            RouteAction::Redirect { .. } => &[],
        }
    }
}

/// Routes of one host and scheme, longest path first.
type Paths = Vec<(String, usize, usize)>;

#[derive(Debug, Default)]
struct HostPaths {
    http: Paths,
    https: Paths,
}

/// One whole table, never changed.
#[derive(Debug, Default)]
pub struct Routing {
    version: u64,
    environments: Vec<Arc<EnvironmentView>>,
    /// Exact names, and wildcards under the part behind `*.`.
    exact: HashMap<String, HostPaths>,
    wildcard: HashMap<String, HostPaths>,
    whole: OnceLock<Arc<RouteTable>>,
}

impl Routing {
    /// The table that follows this one. Entries that did not change are shared, those that break a rule stay as they were.
    pub fn follow(&self, table: RouteTable) -> Result<(Routing, Vec<EntryIgnored>), TableRefused> {
        if table.version < self.version {
            return Err(TableRefused::Lower { offered: table.version, have: self.version });
        }
        let before: HashMap<&EnvironmentId, &Arc<EnvironmentView>> = self.environments.iter().map(|view| (view.id(), view)).collect();
        let mut ignored = Vec::new();
        let mut environments: Vec<Arc<EnvironmentView>> = Vec::with_capacity(table.environments.len());
        for entry in table.environments {
            let view = match before.get(&entry.id) {
                Some(old) if old.source == entry => Arc::clone(old),
                Some(old) => match may_follow(&old.source, &entry) {
                    Ok(()) => Arc::new(EnvironmentView::new(entry)),
                    Err(why) => {
                        ignored.push(EntryIgnored { environment: entry.id, epoch: entry.epoch, why });
                        Arc::clone(old)
                    }
                },
                None => Arc::new(EnvironmentView::new(entry)),
            };
            environments.push(view);
        }
        let mut next = Routing { version: table.version, environments, ..Routing::default() };
        next.index();
        Ok((next, ignored))
    }

    fn index(&mut self) {
        for (e, view) in self.environments.iter().enumerate() {
            for (r, route) in view.routes.iter().enumerate() {
                let host = route.site.host.as_str();
                let paths = match host.strip_prefix("*.") {
                    Some(suffix) => self.wildcard.entry(suffix.to_string()).or_default(),
                    None => self.exact.entry(host.to_string()).or_default(),
                };
                let list = if route.site.https { &mut paths.https } else { &mut paths.http };
                list.push((route.site.path.clone(), e, r));
            }
        }
        for paths in self.exact.values_mut().chain(self.wildcard.values_mut()) {
            // A stable sort: of two equal paths the one that came first is served.
            paths.http.sort_by_key(|(path, ..)| std::cmp::Reverse(path.len()));
            paths.https.sort_by_key(|(path, ..)| std::cmp::Reverse(path.len()));
        }
    }

    /// The version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All environments.
    pub fn environments(&self) -> &[Arc<EnvironmentView>] {
        &self.environments
    }

    /// The table as it came, with the entries that are served.
    pub fn to_table(&self) -> Arc<RouteTable> {
        let whole = || RouteTable { version: self.version, environments: self.environments.iter().map(|view| view.source.clone()).collect() };
        Arc::clone(self.whole.get_or_init(|| Arc::new(whole())))
    }

    /// The best route: exact host before wildcard, then the longest path. `host` is lower case and without port.
    pub fn find(&self, https: bool, host: &str, path: &str) -> Option<Matched> {
        self.candidates(host).find_map(|paths| {
            let list = if https { &paths.https } else { &paths.http };
            let (_, e, r) = list.iter().find(|(prefix, ..)| covers(prefix, path))?;
            Some(Matched { environment: Arc::clone(&self.environments[*e]), index: *r })
        })
    }

    /// Some https route has this host: a certificate may be made. Gives the name that it shall carry.
    pub fn certificate_name(&self, host: &str) -> Option<String> {
        if self.exact.get(host).is_some_and(|paths| !paths.https.is_empty()) {
            return Some(host.to_string());
        }
        let suffix = parents(host).find(|suffix| self.wildcard.get(*suffix).is_some_and(|paths| !paths.https.is_empty()))?;
        // A certificate's wildcard covers one label. A deeper name gets the same one and its client will not accept it:
        // one per parent would let anybody fill the disk with certificates of invented names.
        Some(format!("*.{suffix}"))
    }

    fn candidates<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a HostPaths> {
        self.exact.get(host).into_iter().chain(parents(host).filter_map(|suffix| self.wildcard.get(suffix)))
    }
}

fn may_follow(old: &RouteEnvironment, new: &RouteEnvironment) -> Result<(), &'static str> {
    if new.epoch < old.epoch {
        return Err("its epoch is lower than the one this router has");
    }
    if new.epoch == old.epoch && (new.gate != old.gate || new.release != old.release) {
        return Err("it changes the gate or the release without a new epoch");
    }
    Ok(())
}

/// `a.b.c` has the parents `b.c` and `c`: nearer wildcards come first.
fn parents(host: &str) -> impl Iterator<Item = &str> {
    host.match_indices('.').map(|(at, _)| &host[at + 1..])
}

/// `/foo/` covers `/foo/`, `/foo/bar` and `/foo`, but not `/foobar`.
pub fn covers(prefix: &str, path: &str) -> bool {
    let stem = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(stem).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(https: bool, host: &str, path: &str, pool: &str) -> SiteRoute {
        SiteRoute {
            https,
            host: host.into(),
            path: path.into(),
            original_url: format!("http://{host}{path}"),
            action: RouteAction::Upstream { pool: pool.into() },
            redirects: vec![],
        }
    }

    fn environment(id: &str, epoch: u64, gate: Gate, release: &str, routes: Vec<SiteRoute>) -> RouteEnvironment {
        RouteEnvironment {
            id: id.parse().unwrap(),
            project: "p1".parse().unwrap(),
            epoch: Epoch(epoch),
            gate,
            release: format!("rel-{release}").parse().unwrap(),
            routes,
            pools: BTreeMap::new(),
            hold: HoldLimits::default(),
            cluster: id.into(),
            restrict_robots: false,
            shells: vec![],
        }
    }

    fn table(version: u64, environments: Vec<RouteEnvironment>) -> RouteTable {
        RouteTable { version, environments }
    }

    fn pool_of(routing: &Routing, https: bool, host: &str, path: &str) -> Option<String> {
        match &routing.find(https, host, path)?.route().site.action {
            RouteAction::Upstream { pool } => Some(pool.clone()),
            RouteAction::Redirect { .. } => None,
        }
    }

    #[test]
    fn the_exact_host_and_the_longest_path_on_a_segment_border_win() {
        let routes = vec![
            route(false, "*.example.com", "/", "wild"),
            route(false, "*.b.example.com", "/", "nearer"),
            route(false, "www.example.com", "/", "root"),
            route(false, "www.example.com", "/foo/", "foo"),
            route(false, "www.example.com", "/foo/bar/", "bar"),
            route(false, "only.example.com", "/deep/", "deep"),
            route(true, "www.example.com", "/", "tls"),
        ];
        let (routing, _) = Routing::default().follow(table(1, vec![environment("e", 1, Gate::Open, "a", routes)])).unwrap();
        for (https, host, path, expected) in [
            (false, "www.example.com", "/", Some("root")),
            (false, "www.example.com", "/foo", Some("foo")),
            (false, "www.example.com", "/foobar", Some("root")),
            (false, "www.example.com", "/foo/baz/", Some("foo")),
            (false, "www.example.com", "/foo/bar/x", Some("bar")),
            (true, "www.example.com", "/foo/", Some("tls")),
            (false, "x.example.com", "/", Some("wild")),
            (false, "a.b.example.com", "/", Some("nearer")),
            (false, "x.y.example.com", "/", Some("wild")),
            (false, "only.example.com", "/other", Some("wild")),
            (false, "example.com", "/", None),
            (true, "x.example.com", "/", None),
        ] {
            assert_eq!(pool_of(&routing, https, host, path).as_deref(), expected, "{https} {host} {path}");
        }
        assert_eq!(routing.certificate_name("www.example.com").as_deref(), Some("www.example.com"));
        assert_eq!(routing.certificate_name("x.example.com"), None);
    }

    #[test]
    fn versions_and_epochs_only_rise_and_an_entry_that_falls_back_stays_as_it_was() {
        let frozen = environment("e", 4, Gate::Frozen, "a", vec![]);
        let (routing, _) = Routing::default().follow(table(7, vec![frozen.clone()])).unwrap();
        assert_eq!(routing.follow(table(6, vec![])).unwrap_err(), TableRefused::Lower { offered: 6, have: 7 });
        for bad in [environment("e", 3, Gate::Open, "a", vec![]), environment("e", 4, Gate::Open, "a", vec![]), environment("e", 4, Gate::Frozen, "b", vec![])] {
            let (next, ignored) = routing.follow(table(8, vec![bad])).unwrap();
            assert_eq!(ignored.len(), 1);
            assert_eq!(next.to_table().environments, vec![frozen.clone()]);
        }
        let (next, ignored) = routing.follow(table(8, vec![environment("e", 5, Gate::Open, "b", vec![])])).unwrap();
        assert!(ignored.is_empty() && next.environments()[0].gate() == Gate::Open);
    }

    #[test]
    fn an_unchanged_environment_is_shared_between_tables() {
        let entry = environment("e", 1, Gate::Open, "a", vec![route(false, "h", "/", "p")]);
        let (one, _) = Routing::default().follow(table(1, vec![entry.clone()])).unwrap();
        let (two, _) = one.follow(table(2, vec![entry])).unwrap();
        assert!(Arc::ptr_eq(&one.environments()[0], &two.environments()[0]));
    }
}
