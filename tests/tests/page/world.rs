//! An engine behind a proxy, with the shipped plugins and a catalogue in which strangers have left
//! names; and what a script may have done to it.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tally_tests::folder::{CONFIG, drop_in, home};
use tally_tests::poison::poison;
use tally_tests::proxy::Proxy;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally, plugin};

const USERS: &str = include_str!("users.csv");
const PRODUCTS: &str = include_str!("products.csv");

/// Plugins that are there from the start.
const SHIPPED: [&str; 3] = ["event_frequencies", "products_popularity", "user_activities"];

/// Ended in this order.
pub(crate) struct World {
    tally: Option<Tally>,
    proxy: Proxy,
    redis: Option<Redis>,
    folder: PathBuf,
    home: Home,
}

impl World {
    /// With the embedded store; `more` is put behind its configuration.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn new(more: &str) -> Result<World> {
        World::with(more, None, (USERS, PRODUCTS))
    }

    /// With a catalogue of its own, users and products, as `tally import` reads them.
    ///
    /// # Errors
    /// As [`World::new`]; a row is refused.
    pub(crate) fn of(catalogue: (&str, &str), more: &str) -> Result<World> {
        World::with(more, None, catalogue)
    }

    /// With Redis as its store.
    ///
    /// # Errors
    /// As [`World::new`]; there is no Redis.
    pub(crate) fn on_redis() -> Result<World> {
        let redis = Redis::start(&["--appendonly", "yes"])?;
        World::with("", Some(redis), (USERS, PRODUCTS))
    }

    fn with(more: &str, redis: Option<Redis>, catalogue: (&str, &str)) -> Result<World> {
        let (users, products) = catalogue;
        let (mut home, folder) = home();
        if let Some(redis) = &redis {
            home.env("REDIS_URL", &redis.url());
        }
        home.write("metrics.toml", format!("{CONFIG}{more}"))?;
        home.write("users.csv", users)?;
        home.write("products.csv", products)?;
        for name in SHIPPED {
            drop_in(&folder, name);
        }
        home.succeed(&["import", "users", "users.csv"])?;
        home.succeed(&["import", "products", "products.csv"])?;
        let tally = home.start()?;
        let proxy = Proxy::start(&tally.address.to_string(), &[])?;
        Ok(World { tally: Some(tally), proxy, redis, folder, home })
    }

    /// Where the page is, whatever becomes of the engine.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.proxy.at())
    }

    /// A path in the engine's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The end of what the engine wrote.
    pub(crate) fn tail(&self) -> String {
        self.tally.as_ref().map(|tally| tally.process.tail()).unwrap_or_default()
    }

    /// Ends the engine orderly.
    ///
    /// # Errors
    /// It does not end so.
    pub(crate) fn end(mut self) -> Result<()> {
        self.running()?.stop()?;
        Ok(())
    }

    /// Does what a script asks for; what is said to it.
    pub(crate) fn act(&mut self, line: &str) -> Value {
        match self.done(line) {
            Ok(()) => json!({"done": null}),
            Err(fault) => json!({"error": format!("{fault:#}")}),
        }
    }

    fn done(&mut self, line: &str) -> Result<()> {
        let act: Value = serde_json::from_str(line)?;
        let text = |key: &str| act[key].as_str().with_context(|| format!("{line}: no {key}"));
        match text("act")? {
            "stop" => {
                self.running()?.stop()?;
            }
            "kill" => self.running()?.kill()?,
            "start" => {
                let tally = self.home.start()?;
                self.proxy.lead_to(&tally.address.to_string());
                self.tally = Some(tally);
            }
            "plugin" => drop_in(&self.folder, text("plugin")?),
            "old" => self.put_old(text("plugin")?)?,
            // As one that is still being copied, or was broken off.
            "spoil" => {
                let whole = fs::read(plugin(text("plugin")?)?)?;
                fs::write(self.folder.join("spoilt.so"), &whole[..whole.len() / 2])?;
            }
            "remove" => {
                fs::remove_file(self.folder.join(format!("{}.so", text("plugin")?)))?;
            }
            "poison" => {
                let breaks = act["breaks"].as_bool().context("which poison")?;
                fs::copy(poison(breaks)?, self.folder.join("poison.so"))?;
            }
            "configure" => {
                self.home.write("metrics.toml", format!("{CONFIG}{}", text("config")?))?;
            }
            "redis" => {
                let redis = self.redis.as_mut().context("there is no Redis")?;
                if act["up"] == true { redis.restart()? } else { redis.kill()? }
            }
            other => bail!("no such act: {other}"),
        }
        Ok(())
    }

    fn running(&mut self) -> Result<Tally> {
        self.tally.take().context("the engine does not run")
    }

    /// The file of a plugin that was kept when its interface became final, where one was for this
    /// kind of machine.
    fn put_old(&self, name: &str) -> Result<()> {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/generation-1");
        let machine = format!("{}-", std::env::consts::ARCH);
        for target in fs::read_dir(kept)? {
            let target = target?;
            if target.file_name().to_string_lossy().starts_with(&machine) {
                let file = format!("{name}.so");
                fs::copy(target.path().join(&file), self.folder.join(&file))?;
            }
        }
        Ok(())
    }
}
