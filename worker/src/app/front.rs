//! The fronts of an instance: one nginx per epoch, and how many requests it has under way.
//!
//! ```text
//! open(epoch) ─▶ listens ─▶ SIGQUIT: the kernel refuses, idle connections end ─▶ requests under way end ─▶ it exits
//!                                  only half-sent requests remain: stopped, looked at again, killed (F2)
//! ```

use super::nginx::APP_PORT;
use crate::inside;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slipway_model::Epoch;
use std::time::Duration;

/// Requests that were only sent in part have this long to be completed once the front is closed.
pub const HALF_SENT_TIME_MAX: Duration = Duration::from_millis(1500);
/// The master, its one worker, and nothing else of nginx hold sockets.
const CHANNELS: usize = 1;

/// A front's configuration: where it listens is all that differs.
pub fn config(name: &str, port: u16) -> String {
    format!(
        "daemon off;\npid /run/front-{name}.pid;\nerror_log /var/log/error.log warn;\nworker_processes 1;\npcre_jit on;\n\
         events {{ worker_connections 8192; multi_accept on; }}\n\
         http {{\ninclude /etc/nginx/mime.types;\ndefault_type application/octet-stream;\nserver_tokens off;\nsendfile on;\ntcp_nopush on;\n\
         access_log /var/log/access.log combined;\n\
         client_body_temp_path /var/tmp/nginx-{name}-body;\nproxy_temp_path /var/tmp/nginx-{name}-proxy;\n\
         fastcgi_temp_path /var/tmp/nginx-{name}-fastcgi;\nuwsgi_temp_path /var/tmp/nginx-{name}-uwsgi;\nscgi_temp_path /var/tmp/nginx-{name}-scgi;\n\
         client_header_timeout 60s;\nclient_body_timeout 120s;\nsend_timeout 300s;\n\
         keepalive_timeout 3600s;\nkeepalive_requests 1000000;\nlarge_client_header_buffers 8 32k;\n\
         set_real_ip_from 0.0.0.0/0;\nreal_ip_header X-Client-IP;\n\
         include /run/slipway/nginx/http.conf;\n\
         server {{\nlisten 0.0.0.0:{port} backlog=4096;\ninclude /run/slipway/nginx/server.conf;\n}}\n}}\n"
    )
}

/// The exec's name in its container.
pub fn exec_id(epoch: Epoch) -> String {
    format!("front-{epoch}")
}

/// The program that serves an epoch.
pub fn args(epoch: Epoch) -> Vec<String> {
    vec!["nginx".into(), "-c".into(), format!("/run/slipway/fronts/{epoch}.conf")]
}

/// What a front has to do still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnderWay {
    /// Requests that the application executes: connections from nginx to it.
    pub executing: u32,
    /// Answers that a client has not taken yet.
    pub answering: u32,
}

/// Look at the processes of the front whose master this is; `port` is where it listened.
pub fn under_way(master: u32, port: u16) -> UnderWay {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{master}/net/{name}")).unwrap_or_default();
    let sockets: Vec<inside::TcpSocket> = inside::tcp(&read("tcp")).collect();
    let unnamed = inside::unix_unnamed_connected(&read("unix"));
    let mut sum = UnderWay::default();
    for worker in inside::children(master) {
        let held = inside::socket_inodes(worker);
        let over_tcp = sockets.iter().filter(|s| s.remote_port == APP_PORT && s.established && held.contains(&s.inode)).count();
        // nginx holds one end of a socket pair to its master, which looks like a connection to the application.
        let over_unix = unnamed.intersection(&held).count().saturating_sub(CHANNELS);
        sum.executing += (over_tcp + over_unix) as u32;
        sum.answering += sockets.iter().filter(|s| s.local_port == port && s.unsent > 0 && held.contains(&s.inode)).count() as u32;
    }
    sum
}

/// End a closed front in which nothing is executed: its processes are held still, looked at again, and only then killed,
/// so that no half-sent request is completed in between.
pub async fn cut(master: u32, port: u16) -> bool {
    let workers = inside::children(master);
    let everyone = |signal| workers.iter().chain([&master]).for_each(|pid| {
        let _ = kill(Pid::from_raw(*pid as i32), signal);
    });
    everyone(Signal::SIGSTOP);
    for _ in 0..100 {
        if workers.iter().all(|pid| is_still(*pid)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let quiet = workers.iter().all(|pid| is_still(*pid)) && under_way(master, port) == UnderWay::default();
    everyone(if quiet { Signal::SIGKILL } else { Signal::SIGCONT });
    quiet
}

/// Stopped, or gone.
fn is_still(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    let state = stat.rfind(')').and_then(|at| stat[at + 1..].trim_start().chars().next());
    matches!(state, Some('T' | 'Z' | 'X') | None)
}
