//! Whether `[kafka]` can be used, without a broker: the clients are made as a start makes them,
//! without the addresses.
//!
//! Promises: what is refused here is what a start would refuse, in the client library's own words;
//! no text repeats the value of a setting, which may be a password.

use super::{raw, settings};
use crate::{LogError, SettingFault};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;
use tally_config::{KafkaConfig, document_key, own_kafka_setting};

/// The section whose keys are librdkafka's.
const SETTINGS: &str = "kafka.settings";

/// What is wrong with `[kafka]`: each setting that the library refuses, or, where none is, that
/// some do not go together.
pub(super) fn check_settings(config: &KafkaConfig) -> Vec<SettingFault> {
    let mut faults = Vec::new();
    for (name, value) in &config.settings {
        if own_kafka_setting(name).is_some() {
            continue; // refused where the file is read
        }
        let mut one = ClientConfig::new();
        one.set(name, value.reveal());
        if let Err(fault) = one.create_native_config() {
            let key = document_key(SETTINGS, name);
            let what = format!("{key} {}", reason(&fault, value.reveal()));
            faults.push(SettingFault { key, what });
        }
    }
    if faults.is_empty() {
        let together = check_together(config).err();
        faults.extend(
            together
                .map(|why| SettingFault { key: SETTINGS.into(), what: format!("[kafka]: {why}") }),
        );
    }
    faults
}

/// Makes each client, which compares its settings with each other.
fn check_together(config: &KafkaConfig) -> Result<(), String> {
    let offline = |settings: Result<settings::Settings, LogError>| {
        let mut settings = settings.map_err(|fault| fault.to_string())?;
        settings.remove("bootstrap.servers");
        Ok::<_, String>(settings)
    };
    for settings in [settings::consumer(config), settings::replay(config)] {
        raw::Consumer::new(&offline(settings)?, &config.topic)
            .map_err(|fault| without_values(&fault, config))?;
    }
    for settings in [settings::producer(config), settings::admin(config)] {
        let mut client = ClientConfig::new();
        client.extend(offline(settings)?);
        let made = client.create::<BaseProducer>();
        made.map_err(|fault| without_values(&fault.to_string(), config))?;
    }
    Ok(())
}

/// Why the library refuses one setting, as the rest of a text that begins with its name.
fn reason(fault: &KafkaError, value: &str) -> String {
    let KafkaError::ClientConfig(_, said, ..) = fault else {
        return "is refused by the Kafka client".into();
    };
    if said.starts_with("No such configuration property") {
        return "is not a setting of the Kafka client (librdkafka); its CONFIGURATION.md lists \
                them"
            .into();
    }
    if said.contains("not supported in this build") {
        return "is not supported by the Kafka client in this build".into();
    }
    if !value.is_empty() && said.contains(value) {
        return "has a value that the Kafka client (librdkafka) does not accept; see its \
                CONFIGURATION.md"
            .into();
    }
    format!("is refused by the Kafka client: {said}")
}

/// The library quotes values of settings where it refuses several together.
fn without_values(said: &str, config: &KafkaConfig) -> String {
    let long = config.settings.values().map(|value| value.reveal()).filter(|value| value.len() > 3);
    long.fold(said.to_owned(), |said, value| said.replace(value, "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(settings: &[(&str, &str)]) -> Vec<SettingFault> {
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        check_settings(&KafkaConfig { settings, ..KafkaConfig::default() })
    }

    #[test]
    fn what_the_client_refuses_is_named_without_its_value() {
        for (name, value, words) in [
            ("no.such", "hushhush", "is not a setting"),
            ("fetch.wait.max.ms", "hushhush", "value"),
            ("fetch.wait.max.ms", "-7", ""),
            ("security.protocol", "hushhush", "value"),
            ("group.protocol", "hushhush", ""),
            ("compression.type", "hushhush", "value"),
        ] {
            let faults = with(&[(name, value)]);
            assert_eq!(faults.len(), 1, "{name}={value}: {faults:?}");
            assert_eq!(faults[0].key, document_key(SETTINGS, name));
            let what = &faults[0].what;
            assert!(
                what.starts_with(&faults[0].key) && what.contains(words) && !what.contains("hush"),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused_and_what_is_right_is_not() {
        assert_eq!(with(&[]), []);
        assert_eq!(
            with(&[("fetch.wait.max.ms", "7"), ("linger.ms", "9"), ("client.rack", "a")]),
            []
        );
        let faults = with(&[("max.poll.interval.ms", "1000"), ("client.rack", "hushhush")]);
        assert!(
            faults.len() == 1 && faults[0].key == SETTINGS && !faults[0].what.contains("hush"),
            "{faults:?}"
        );
    }
}
