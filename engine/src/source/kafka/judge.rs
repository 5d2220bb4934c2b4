//! Whether `[kafka]` can be used, without a broker: the clients are made as a start makes them, but for the addresses.
//!
//! Promises: what is refused here is what a start would refuse, by the client library's own word; no sentence repeats the value
//! of a setting, which may be a password.

use super::{raw, settings};
use crate::config::{KafkaConfig, own_kafka_setting};
use crate::source::SourceError;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;

/// What is wrong with `[kafka]`: the name of a setting, or `None` where several do not go together; and a sentence.
#[must_use]
pub fn judge(config: &KafkaConfig) -> Vec<(Option<String>, String)> {
    let mut faults = Vec::new();
    for (name, value) in &config.settings {
        if own_kafka_setting(name).is_some() {
            continue; // told where the file is read
        }
        let mut one = ClientConfig::new();
        one.set(name, value.reveal());
        if let Err(fault) = one.create_native_config() {
            faults.push((Some(name.clone()), told(&fault, value.reveal())));
        }
    }
    if faults.is_empty() {
        faults.extend(together(config).err().map(|fault| (None, fault)));
    }
    faults
}

/// Makes each client, which compares its settings with each other.
fn together(config: &KafkaConfig) -> Result<(), String> {
    let offline = |settings: Result<settings::Settings, SourceError>| {
        let mut settings = settings.map_err(|fault| fault.to_string())?;
        settings.remove("bootstrap.servers");
        Ok::<_, String>(settings)
    };
    for settings in [settings::consumer(config), settings::replay(config)] {
        raw::Consumer::new(&offline(settings)?, &config.topic).map_err(|fault| without_values(&fault, config))?;
    }
    for settings in [settings::producer(config), settings::admin(config)] {
        let mut client = ClientConfig::new();
        client.extend(offline(settings)?);
        let made = client.create::<BaseProducer>();
        made.map_err(|fault| without_values(&fault.to_string(), config))?;
    }
    Ok(())
}

fn told(fault: &KafkaError, value: &str) -> String {
    let KafkaError::ClientConfig(_, said, ..) = fault else { return "is refused by the Kafka client".into() };
    if said.starts_with("No such configuration property") {
        return "is no setting of the Kafka client (librdkafka); its documentation lists them in CONFIGURATION.md"
            .into();
    }
    if said.contains("not supported in this build") {
        return "is not supported by the Kafka client in this build".into();
    }
    if !value.is_empty() && said.contains(value) {
        return "holds a value that the Kafka client (librdkafka) does not take for it; see CONFIGURATION.md there"
            .into();
    }
    format!("is refused by the Kafka client: {said}")
}

/// What the library says of several settings quotes the values of some.
fn without_values(said: &str, config: &KafkaConfig) -> String {
    let long = config.settings.values().map(|value| value.reveal()).filter(|value| value.len() > 3);
    long.fold(said.to_owned(), |said, value| said.replace(value, "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(settings: &[(&str, &str)]) -> Vec<(Option<String>, String)> {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        judge(&KafkaConfig { settings, ..KafkaConfig::default() })
    }

    #[test]
    fn what_the_client_refuses_is_named_without_its_value() {
        for (name, value, words) in [
            ("no.such", "hushhush", "is no setting"),
            ("fetch.wait.max.ms", "hushhush", "value"),
            ("fetch.wait.max.ms", "-7", ""),
            ("security.protocol", "hushhush", "value"),
            ("group.protocol", "hushhush", ""),
            ("compression.type", "hushhush", "value"),
        ] {
            let faults = with(&[(name, value)]);
            assert_eq!(faults.len(), 1, "{name}={value}: {faults:?}");
            assert_eq!(faults[0].0.as_deref(), Some(name));
            assert!(faults[0].1.contains(words) && !faults[0].1.contains("hush"), "{faults:?}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_told_and_what_is_right_is_not() {
        assert_eq!(with(&[]), []);
        assert_eq!(with(&[("fetch.wait.max.ms", "7"), ("linger.ms", "9"), ("client.rack", "a")]), []);
        let faults = with(&[("max.poll.interval.ms", "1000"), ("client.rack", "hushhush")]);
        assert!(faults.len() == 1 && faults[0].0.is_none() && !faults[0].1.contains("hush"), "{faults:?}");
    }
}
