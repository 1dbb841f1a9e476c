//! What is logged, on stderr: warnings, unless `WGRAD_LOG` asks for something else.

use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, WeakProgressBar};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::{Failure, Outcome};

/// The bar that is on the screen, which lines must not run into.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// Says which bar is on the screen.
pub(super) fn watch(bar: &ProgressBar) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
}

/// Refuses switches that are misspelt, and starts to log.
pub(super) fn start() -> Outcome {
    let wanted = std::env::var("WGRAD_LOG").ok().filter(|text| !text.is_empty());
    let is_colored =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt().with_writer(|| Stderr).with_ansi(is_colored);
    match wanted {
        Some(text) => {
            let filter = EnvFilter::try_new(text).map_err(|e| Failure::usage(format!("WGRAD_LOG: {e}")))?;
            builder.with_env_filter(filter).init();
        }
        None => builder.with_env_filter(EnvFilter::new("wgrad=warn")).event_format(Plain).init(),
    }
    wgrad::check_environment().map_err(|error| Failure::usage(error.to_string()))
}

/// Lines above the bar.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let bar =
            BAR.lock().unwrap_or_else(PoisonError::into_inner).as_ref().and_then(WeakProgressBar::upgrade);
        match bar.filter(|bar| !bar.is_finished()) {
            Some(bar) => bar.suspend(|| std::io::stderr().write(bytes)),
            None => std::io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// `warning: what there is (path rows.csv, rows 3)`.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut words = Words::default();
        event.record(&mut words);
        let level = if *event.metadata().level() == Level::ERROR { "error" } else { "warning" };
        let others =
            if words.others.is_empty() { String::new() } else { format!(" ({})", words.others.join(", ")) };
        writeln!(to, "{level}: {}{others}", words.message)
    }
}

#[derive(Default)]
struct Words {
    message: String,
    others: Vec<String>,
}

impl Words {
    fn add(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            // An error says what it is.
            "error" => self.others.push(text),
            name => self.others.push(format!("{name} {text}")),
        }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
}
