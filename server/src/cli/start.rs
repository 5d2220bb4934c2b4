//! The one place where the command line meets the engine, the HTTP server and the catalogue:
//! opening them in order and closing them in the opposite one.
//!
//! What belongs to the library (`http`, `catalogue`) is called through [`library`] only.

use super::Failure;
use super::args::What;
use super::settings::plugin_dirs;
use super::stop::Stop;
use crate::http::Server;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tally_engine::config::Config;
use tally_engine::descriptors;
use tally_engine::engine::{ConfigFile, Engine, Options, StartError, Totals};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Users of the demo: 1…this, in the catalogue and in made-up events.
pub(crate) const DEMO_USERS: u64 = 1_000;

/// Products of the demo, likewise.
pub(crate) const DEMO_PRODUCTS: u64 = 200;

/// How long to wait for work of the server that does not end.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// An engine that answers.
pub(crate) struct Started {
    /// The engine.
    pub(crate) engine: Arc<Engine>,
    /// Where it answers.
    pub(crate) address: SocketAddr,
    runtime: Runtime,
    closing: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

/// Opens everything; `config_file` is read again while it runs. Metrics named in `disabled` are not
/// loaded. With a seed, the demo's users and products are written into the catalogue. If the server
/// ends by an internal error, it requests `stop`.
pub(crate) fn start(
    config: Config,
    config_file: Option<ConfigFile>,
    disabled: &[String],
    demo_seed: Option<u64>,
    stop: &Stop,
) -> Result<Started, Failure> {
    let failed = Failure::Failed;
    match descriptors::raise() {
        Ok(()) => {}
        Err(error) => {
            tracing::warn!(
                %error,
                limit = descriptors::limit(),
                "the limit of open files cannot be raised"
            )
        }
    }
    let most = descriptors::for_connections(descriptors::limit());
    if most < config.server.max_connections {
        let (limit, wanted) = (descriptors::limit(), config.server.max_connections);
        tracing::warn!(
            limit,
            wanted,
            most,
            "fewer connections are accepted than [server] max_connections: the limit of open files \
             is too low"
        );
    }
    // Files that are created from here on are readable by this user only.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(format!("cannot start threads: {error}")))?;
    // The port first: it fails most often and costs nothing to release.
    let bound = runtime
        .block_on(Server::bind(&config.server.listen))
        .map_err(|fault| failed(fault.to_string()))?;
    let address = bound.address();
    let figures = library::recorder().map_err(failed)?;
    let wanted = config.clone();
    let plugin_dirs = plugin_dirs(&config);
    let options = Options { config, plugin_dirs, config_file, disabled: disabled.to_vec() };
    let engine = Engine::start(options).map_err(|error| match error {
        StartError::Sections(faults) => Failure::Config(faults),
        error => failed(error.to_string()),
    })?;
    let engine = Arc::new(engine);
    let catalogue = runtime.block_on(library::serving_catalogue(&wanted)).map_err(failed)?;
    if let Some(seed) = demo_seed
        && let Err(reason) = runtime.block_on(library::seed_demo(catalogue.as_ref(), seed))
    {
        tracing::warn!(reason, "users and products of the demo have no names");
    }
    let (closing, closed) = watch::channel(false);
    let (seen, answering) = (stop.on_panic(), engine.clone());
    let serving = runtime.spawn(async move {
        let _seen = seen;
        library::serve(bound, answering, catalogue, wanted, figures, closed).await;
    });
    Ok(Started { engine, address, runtime, closing, serving })
}

impl Started {
    /// Stops answering, then counting; returns what was counted.
    pub(crate) fn stop(self, limit: Duration) -> Result<Totals, Failure> {
        let Started { engine, runtime, closing, serving, .. } = self;
        // If serving has failed, nobody listens any more; that is reported below.
        let _ = closing.send(true);
        let served = runtime.block_on(async { tokio::time::timeout(limit, serving).await });
        runtime.shutdown_timeout(STRAGGLERS);
        let totals = engine.stop(limit);
        match served {
            Ok(Err(error)) => {
                Err(Failure::Failed(format!("the server ended unexpectedly: {error}")))
            }
            Ok(Ok(())) => Ok(totals),
            Err(_) => {
                tracing::warn!(
                    "the server did not end within {} s and was cut off",
                    limit.as_secs()
                );
                Ok(totals)
            }
        }
    }
}

/// What an import did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Imported {
    /// New rows.
    pub(crate) inserted: u64,
    /// Rows with other content.
    pub(crate) updated: u64,
    /// Rows as they were.
    pub(crate) unchanged: u64,
    /// Lines refused.
    pub(crate) refused: u64,
    /// The first of them, with line number.
    pub(crate) faults: Vec<(u64, String)>,
    /// Warnings of unknown columns.
    pub(crate) warnings: Vec<String>,
}

/// Imports a CSV file into the configured catalogue; the embedded one's folder is made if it does
/// not exist.
pub(crate) fn import(what: What, file: File, config: &Config) -> Result<Imported, Failure> {
    let runtime = small_runtime()?;
    let work = async {
        let catalogue = library::open_catalogue(config).await?;
        library::import(what, file, catalogue.as_ref()).await
    };
    runtime.block_on(work).map_err(Failure::Failed)
}

/// What a migration did, or would do.
pub(crate) struct Migrated {
    /// The database.
    pub(crate) place: String,
    /// Applied or pending, in order.
    pub(crate) migrations: Vec<String>,
}

/// Brings the configured catalogue's tables up to date, or only lists what that would apply.
pub(crate) fn migrate(config: &Config, dry_run: bool) -> Result<Migrated, Failure> {
    small_runtime()?.block_on(library::migrate(config, dry_run)).map_err(Failure::Failed)
}

fn small_runtime() -> Result<Runtime, Failure> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("cannot start threads: {error}")))
}

/// Calls into the library.
mod library {
    use super::{
        Arc, Config, DEMO_PRODUCTS, DEMO_USERS, Engine, File, Imported, Migrated, What, watch,
    };
    use crate::catalogue::embedded::Embedded;
    use crate::catalogue::import::Kind;
    use crate::catalogue::late::Late;
    use crate::catalogue::postgres::{Postgres, Settings};
    use crate::catalogue::{Catalogue, demo, import as csv};
    use crate::http::{Bound, Limits, OriginCheck, Parts};
    use metrics_exporter_prometheus::PrometheusHandle;
    use std::path::PathBuf;
    use std::time::Duration;
    use tally_engine::{database, descriptors, telemetry};

    /// The catalogue's file in the data directory.
    const CATALOGUE: &str = "catalogue.sqlite";

    /// The catalogue of a running engine: as [`open_catalogue`], but a file that cannot be opened
    /// now is tried again.
    pub(super) async fn serving_catalogue(config: &Config) -> Result<Arc<dyn Catalogue>, String> {
        if config.catalogue.postgres_url.is_empty() {
            return Ok(Arc::new(Late::open(config.store.data_dir.join(CATALOGUE))));
        }
        open_catalogue(config).await
    }

    /// Opens the configured catalogue: PostgreSQL where a URL is given, else the data directory's,
    /// which is made.
    pub(super) async fn open_catalogue(config: &Config) -> Result<Arc<dyn Catalogue>, String> {
        let refused = |fault: crate::catalogue::CatalogueError| fault.to_string();
        let url = config.catalogue.postgres_url.reveal();
        if !url.is_empty() {
            let settings = Settings::parse(url).map_err(refused)?;
            return Ok(Arc::new(
                Postgres::open(settings, config.catalogue.migrate).await.map_err(refused)?,
            ));
        }
        let file = catalogue_file(config)?;
        Ok(Arc::new(Embedded::open(&file).map_err(refused)?))
    }

    fn catalogue_file(config: &Config) -> Result<PathBuf, String> {
        let folder = &config.store.data_dir;
        database::prepare(folder).map_err(|fault| fault.to_string())?;
        Ok(folder.join(CATALOGUE))
    }

    /// Applies or lists what the configured catalogue lacks.
    pub(super) async fn migrate(config: &Config, dry_run: bool) -> Result<Migrated, String> {
        let url = config.catalogue.postgres_url.reveal();
        let (place, migrations) = if url.is_empty() {
            let file = config.store.data_dir.join(CATALOGUE);
            let done = if dry_run {
                Embedded::pending(&file)
            } else {
                Embedded::migrate(&catalogue_file(config)?)
            };
            (file.display().to_string(), done)
        } else {
            let settings = Settings::parse(url).map_err(|fault| fault.to_string())?;
            let done = if dry_run {
                Postgres::pending(&settings).await
            } else {
                Postgres::migrate(&settings).await
            };
            (format!("PostgreSQL at {}", settings.place()), done)
        };
        Ok(Migrated { place, migrations: migrations.map_err(|fault| fault.to_string())? })
    }

    /// Writes `DEMO_USERS` users and `DEMO_PRODUCTS` products; again changes nothing.
    pub(super) async fn seed_demo(catalogue: &dyn Catalogue, seed: u64) -> Result<(), String> {
        let wanted = demo::DemoRows { users: DEMO_USERS, products: DEMO_PRODUCTS, seed };
        demo::seed(catalogue, wanted).await.map(|_| ()).map_err(|fault| fault.to_string())
    }

    /// Installs the collector of the program's own metrics.
    pub(super) fn recorder() -> Result<PrometheusHandle, String> {
        let builder = metrics_exporter_prometheus::PrometheusBuilder::new();
        let handle = builder
            .install_recorder()
            .map_err(|fault| format!("the program's own metrics cannot be collected: {fault}"))?;
        telemetry::describe();
        Ok(handle)
    }

    /// Answers until `closed` becomes true, then finishes what is under way.
    pub(super) async fn serve(
        bound: Bound,
        engine: Arc<Engine>,
        catalogue: Arc<dyn Catalogue>,
        config: Config,
        figures: PrometheusHandle,
        mut closed: watch::Receiver<bool>,
    ) {
        let reported = engine.clone();
        let render = move || {
            reported.report();
            figures.run_upkeep();
            figures.render()
        };
        let Config { server, limits, live, export, .. } = config;
        let origin_check = OriginCheck::new(&server.allowed_hosts, &server.allowed_origins);
        let connections =
            server.max_connections.min(descriptors::for_connections(descriptors::limit()));
        let limits = Limits {
            connections,
            // Whatever is held, others find a connection.
            held: (connections / 2).max(1),
            evaluation: Duration::from_millis(server.evaluation_deadline_ms),
            answer_bytes: usize::try_from(limits.answer_bytes).unwrap_or(usize::MAX),
            sockets: live.streams,
            subscriptions: live.subscriptions,
            min_interval: Duration::from_millis(live.min_interval_ms),
            kept_replies: engine.budget().kept_replies(),
            answers: engine.budget().answers.clone(),
            watched: engine.budget().sockets.clone(),
            ..Limits::default()
        };
        let (render, exports) = (Arc::new(render), export.prometheus);
        let boards = server.boards;
        let parts = Parts { engine, catalogue, render, exports, boards, origin_check, limits };
        let stop = async move {
            // An error means that the sender is gone, which is a stop too.
            let _ = closed.wait_for(|closed| *closed).await;
        };
        let drained = bound.serve(parts, stop).await;
        if drained.cut > 0 {
            tracing::warn!(cut = drained.cut, "connections did not finish in time and were closed");
        }
    }

    /// Writes the rows of a CSV file.
    pub(super) async fn import(
        what: What,
        file: File,
        catalogue: &dyn Catalogue,
    ) -> Result<Imported, String> {
        let kind = match what {
            What::Users => Kind::Users,
            What::Products => Kind::Products,
        };
        let report = csv::import(kind, file, catalogue).await.map_err(|fault| fault.to_string())?;
        Ok(Imported {
            inserted: report.written.inserted,
            updated: report.written.updated,
            unchanged: report.written.unchanged,
            refused: report.refused,
            faults: report.faults.into_iter().map(|fault| (fault.line, fault.reason)).collect(),
            warnings: report.warnings,
        })
    }
}
