//! The bare loop that others are measured against: librdkafka's defaults, every record polled,
//! nothing done with it.

use crate::engine::Measured;
use crate::events::Oracle;
use crate::measure;
use anyhow::{Result, ensure};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message};
use std::time::{Duration, Instant};

/// Polls a topic to the end that the oracle knows.
///
/// # Errors
/// Kafka's, or other bytes came than were written.
pub fn poll(brokers: &str, topic: &str, oracle: &Oracle) -> Result<Measured> {
    let (before, started) = (measure::cpu(), Instant::now());
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", format!("bare-{}", std::process::id()))
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[topic])?;
    let standing = measure::cpu();
    let start_ns = measure::nanos(standing - before);
    let (mut events, mut bytes) = (0, 0);
    while events < oracle.total {
        match consumer.poll(Duration::from_secs(1)) {
            Some(message) => {
                bytes += message?.payload().map_or(0, <[u8]>::len) as u64;
                events += 1;
            }
            // also after a rebalance
            None => ensure!(
                started.elapsed() < Duration::from_secs(120),
                "only {events} events came in two minutes"
            ),
        }
    }
    let wall_ms = started.elapsed().as_millis() as u64;
    drop(consumer);
    let cpu_ns = measure::nanos(measure::cpu() - standing);
    ensure!(bytes == oracle.bytes, "wrong: {bytes} bytes instead of {}", oracle.bytes);
    Ok(Measured { start_ns, cpu_ns, wall_ms })
}
