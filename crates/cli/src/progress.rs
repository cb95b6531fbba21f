//! Progress on stderr: a bar on a terminal, nothing in a pipe, JSON lines on request.

use crate::args::ProgressMode;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reseal::Observer;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    json: bool,
    /// Last percentage told in JSON, so that a long copy says little.
    told: AtomicU64,
}

impl Progress {
    pub(crate) fn new(mode: ProgressMode) -> Progress {
        let terminal = matches!(mode, ProgressMode::Auto) && std::io::stderr().is_terminal();
        let bar = terminal.then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(
                ProgressStyle::with_template("{spinner} {msg:12} {wide_bar} {bytes}/{total_bytes} {elapsed}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar
        });
        Progress { bar, json: matches!(mode, ProgressMode::Json), told: AtomicU64::new(u64::MAX) }
    }

    fn line(&self, value: &serde_json::Value) {
        // A closed stderr is no reason to stop sealing.
        let _ = writeln!(std::io::stderr(), "{value}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Progress {
    fn phase(&self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_owned());
            bar.tick();
        }
        if self.json {
            self.line(&serde_json::json!({ "event": "phase", "phase": name }));
        }
    }

    fn bytes(&self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
        if self.json && total > 0 {
            let percent = (done as f64 / total as f64 * 100.0) as u64;
            if self.told.swap(percent, Ordering::Relaxed) != percent {
                self.line(&serde_json::json!({ "event": "bytes", "done": done, "total": total }));
            }
        }
    }
}
