//! `tally run`: counts and answers until it receives a signal to stop.

use super::args::Run;
use super::output::{begin, data, note, tame, thousands};
use super::stop::Stop;
use super::{Failure, output, settings, start};
use std::time::{Duration, Instant};
use tally_engine::engine::{Check, Totals};

/// How long a drain may take; records that are not committed by then are counted again from the log
/// at the next start.
pub(crate) const DRAIN: Duration = Duration::from_secs(20);

/// A start usually takes at most this long: by then the engine has joined its group.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two checks of what is not ready.
const CHECK_EVERY: Duration = Duration::from_millis(20);

pub(crate) fn run(args: &Run) -> Result<(), Failure> {
    let begun = Instant::now();
    let loaded = settings::read(&args.config, args.listen, args.data_dir.as_deref())?;
    output::log("info");
    let stop = Stop::on_signals_and_hangup().map_err(Failure::Failed)?;
    let file = settings::watched(&args.config, &loaded);
    let started = start::start(loaded.config, Some(file), &args.disable, None, &stop)?;
    data(&format!("listening  http://{}", started.address));
    ready(&started, begun, &stop, Duration::MAX);
    stop.wait_with_hangups(|| started.engine.check_now());
    begin("stopping… ");
    closing(&started.stop(DRAIN)?);
    Ok(())
}

/// Waits until `/readyz` is ok and prints `ready in 0.3 s`. After [`PATIENCE`] it prints on stderr
/// what is not ready yet, and continues to wait until it is asked to stop, or for `limit`.
pub(crate) fn ready(started: &start::Started, begun: Instant, stop: &Stop, limit: Duration) {
    let waiting = Instant::now();
    let mut told = false;
    loop {
        let open: Vec<Check> = started
            .engine
            .readiness()
            .into_iter()
            .filter(|check| !check.ok && check.needed)
            .collect();
        if open.is_empty() {
            return data(&format!("ready in {:.1} s", begun.elapsed().as_secs_f64()));
        }
        if !told && waiting.elapsed() >= PATIENCE {
            told = true;
            for Check { name, detail, .. } in open {
                note(&tame(&format!("not ready yet: {name}: {detail}")));
            }
        }
        if stop.asked() || waiting.elapsed() >= limit {
            return;
        }
        stop.wait(CHECK_EVERY.min(limit.saturating_sub(waiting.elapsed())));
    }
}

/// The rest of the line that begins with `stopping…`.
pub(crate) fn closing(totals: &Totals) {
    data(&closing_line(totals));
}

fn closing_line(totals: &Totals) -> String {
    let Totals { processed, committed, unfinished } = *totals;
    let counts =
        format!("{} events processed, {} committed", thousands(processed), thousands(committed));
    match processed.saturating_sub(committed) {
        // Records under way were not counted; they are in the log.
        open if unfinished => format!(
            "{counts}, 0 lost (counting did not end in time; what was not stored, {} events or \
             more, is counted again from the log at the next start)",
            thousands(open)
        ),
        0 => format!("{counts}, 0 lost"),
        // They are in the log and their offsets are not stored: the next start counts them.
        open => format!(
            "{counts}, 0 lost ({} are counted again from the log at the next start)",
            thousands(open)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_says_what_is_open() {
        let line = |processed, committed| {
            closing_line(&Totals { processed, committed, unfinished: false })
        };
        let hung = closing_line(&Totals { processed: 19_700, committed: 19_650, unfinished: true });
        assert!(
            hung.starts_with(
                "19,700 events processed, 19,650 committed, 0 lost (counting did not end"
            ),
            "{hung}"
        );
        assert!(hung.contains("50 events or more"), "{hung}");
        assert_eq!(line(12_400, 12_400), "12,400 events processed, 12,400 committed, 0 lost");
        assert!(
            line(12_400, 12_000)
                .ends_with("0 lost (400 are counted again from the log at the next start)")
        );
    }
}
