//! Tells sockets when the state of a metric has changed, or a plugin file was refused.
//!
//! One task asks the engine for all sockets, twice a second, and only while there are any. A socket
//! that is slow learns the last of several changes.

use crate::http::App;
use crate::http::json_members::push_text;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// How often the engine is asked.
const EVERY: Duration = Duration::from_millis(500);

/// Names with their states.
type PluginStates = BTreeSet<(String, &'static str)>;

/// What all sockets share of it.
pub(crate) struct PluginNotices {
    states: watch::Sender<Arc<PluginStates>>,
    /// Whether the task runs.
    runs: Mutex<bool>,
}

/// A socket's.
pub(super) struct NoticeListener {
    states: watch::Receiver<Arc<PluginStates>>,
    told: Arc<PluginStates>,
}

impl Default for PluginNotices {
    fn default() -> PluginNotices {
        PluginNotices { states: watch::channel(Arc::default()).0, runs: Mutex::new(false) }
    }
}

impl PluginNotices {
    /// Listens to changes from now on.
    pub(super) fn listen(app: &Arc<App>) -> NoticeListener {
        let notices = &app.notices;
        // Before the task decides whether anybody listens.
        let states = notices.states.subscribe();
        let told = Arc::new(current(app));
        let mut runs = notices.runs.lock();
        if !*runs {
            *runs = true;
            tokio::spawn(ask(Arc::clone(app)));
        }
        NoticeListener { states, told }
    }
}

async fn ask(app: Arc<App>) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        {
            let mut runs = app.notices.runs.lock();
            if app.notices.states.receiver_count() == 0 {
                *runs = false;
                return;
            }
        }
        let states = current(&app);
        app.notices.states.send_if_modified(|known| {
            let changed = **known != states;
            if changed {
                *known = Arc::new(states);
            }
            changed
        });
    }
}

fn current(app: &App) -> PluginStates {
    let refused = app.engine.rejected().into_iter().map(|refused| {
        // The folder of a file is not shown.
        let name = Path::new(&refused.file).file_name().map(|name| name.to_string_lossy());
        (name.map_or_else(|| refused.file.clone(), Into::into), "rejected")
    });
    app.engine.metric_states().into_iter().chain(refused).collect()
}

impl NoticeListener {
    /// Waits for changes; a message for each. A call that is given up has taken nothing.
    pub(super) async fn next(&mut self) -> Vec<String> {
        loop {
            if self.states.changed().await.is_err() {
                // The server has gone, which the session sees by itself.
                std::future::pending::<()>().await;
            }
            let now = self.states.borrow_and_update().clone();
            let news: Vec<String> = now.difference(&self.told).map(notice).collect();
            self.told = now;
            if !news.is_empty() {
                return news;
            }
        }
    }
}

fn notice((name, state): &(String, &'static str)) -> String {
    let mut text = String::from("{\"type\":\"plugin\",\"name\":");
    push_text(&mut text, name);
    text.push_str(",\"state\":\"");
    text.push_str(state);
    text.push_str("\"}");
    text
}
