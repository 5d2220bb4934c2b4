//! What can happen to a fleet.

use super::Fleet;
use crate::kafka::Kafka;
use crate::proxy::Proxy;
use crate::redis::Redis;
use crate::tally::Tally;
use anyhow::{Context, Result, ensure};
use rand::Rng;
use std::process::Command;
use std::time::Duration;

/// Longer than a session.
const PAUSE: Duration = Duration::from_millis(2_500);

/// Something that happens in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// An engine is killed and started again.
    Kill,
    /// All engines are.
    KillAll,
    /// An engine is killed, and again while it starts.
    KillStarting,
    /// An engine is stopped in its tracks for longer than its session, and goes on.
    Pause,
    /// An engine leaves in order and joins again.
    Leave,
    /// Redis is killed and started again with what it kept.
    RedisCrash,
    /// Redis goes back to what it held some rounds ago.
    RedisBack,
    /// Redis loses everything.
    RedisEmpty,
    /// All connections to Redis are cut.
    Cut,
    /// All connections to Redis are reset.
    Reset,
    /// Nothing passes between the engines and Redis, for longer than a session.
    Halt,
    /// The broker is killed and started again.
    Broker,
    /// All connections to the broker are cut.
    KafkaCut,
    /// All connections to the broker are reset.
    KafkaReset,
    /// Nothing passes between the engines and the broker, for longer than a session.
    KafkaHalt,
    /// The disk is full for a while.
    DiskFull,
    /// The disk is full, and the engine is killed before there is room again.
    DiskFullKill,
    /// Writes fail; the engine is killed and started again.
    DiskFails,
}

impl Fleet<'_> {
    pub(super) fn inflict(&mut self, fault: Fault, victim: usize) -> Result<()> {
        let all = 0..self.running.len();
        match fault {
            Fault::Kill => self.kill(victim..victim + 1),
            Fault::KillAll => self.kill(all),
            Fault::KillStarting => {
                self.kill(victim..victim + 1)?;
                let starting = self.homes[victim].spawn()?;
                std::thread::sleep(Duration::from_millis(self.random.random_range(0..600)));
                starting.kill()
            }
            Fault::Pause => {
                let paused = self.running[victim].as_ref().context("it does not run")?;
                paused.process.signal("STOP")?;
                std::thread::sleep(PAUSE);
                paused.process.signal("CONT")
            }
            Fault::Leave => match self.running[victim].take() {
                Some(tally) => tally.stop().map(drop),
                None => Ok(()),
            },
            Fault::RedisCrash => self.redis()?.restart(),
            Fault::RedisBack => {
                let kept = self.redis()?.keep()?;
                // Counting goes on for a while, then all of it is gone.
                std::thread::sleep(Duration::from_millis(self.random.random_range(100..700)));
                self.redis()?.go_back(&kept)
            }
            Fault::RedisEmpty => self.empty_redis(),
            Fault::Cut => self.link().map(Proxy::cut),
            Fault::Reset => self.link().map(Proxy::reset),
            Fault::Halt => halt(self.link()?),
            Fault::Broker => self.kafka()?.restart(),
            Fault::KafkaCut => self.kafka_link().map(Proxy::cut),
            Fault::KafkaReset => self.kafka_link().map(Proxy::reset),
            Fault::KafkaHalt => halt(self.kafka_link()?),
            Fault::DiskFull => {
                self.fill_disk()?;
                self.disk.as_ref().context("no small disk")?.empty()
            }
            Fault::DiskFullKill => {
                self.fill_disk()?;
                self.kill(victim..victim + 1)?;
                self.disk.as_ref().context("no small disk")?.empty()
            }
            Fault::DiskFails => {
                let pid = self.running[victim]
                    .as_ref()
                    .context("it does not run")?
                    .process
                    .pid()
                    .to_string();
                let limited =
                    Command::new("prlimit").args(["--fsize=1000000", "--pid", &pid]).status()?;
                ensure!(limited.success(), "prlimit: {limited}");
                std::thread::sleep(Duration::from_millis(self.random.random_range(100..700)));
                self.kill(victim..victim + 1)
            }
        }
    }

    /// Redis loses everything.
    ///
    /// # Errors
    /// It does not answer.
    pub fn empty_redis(&mut self) -> Result<()> {
        Ok(::redis::cmd("FLUSHALL").exec(&mut self.redis()?.connect()?)?)
    }

    fn fill_disk(&mut self) -> Result<()> {
        self.disk.as_ref().context("no small disk")?.fill(30)?;
        std::thread::sleep(Duration::from_millis(self.random.random_range(100..1_000)));
        Ok(())
    }

    fn kill(&mut self, victims: std::ops::Range<usize>) -> Result<()> {
        self.running[victims].iter_mut().filter_map(Option::take).try_for_each(Tally::kill)
    }

    fn redis(&mut self) -> Result<&mut Redis> {
        self.redis.as_mut().map(|(redis, _)| redis).context("no Redis here")
    }

    fn link(&self) -> Result<&Proxy> {
        self.redis.as_ref().map(|(_, link)| link).context("no Redis here")
    }

    fn kafka(&mut self) -> Result<&mut Kafka> {
        self.kafka.as_deref_mut().context("no Kafka here")
    }

    fn kafka_link(&self) -> Result<&Proxy> {
        self.kafka.as_deref().and_then(Kafka::link).context("no proxy before Kafka")
    }
}

fn halt(link: &Proxy) -> Result<()> {
    link.halt(true);
    std::thread::sleep(PAUSE);
    link.halt(false);
    Ok(())
}
