//! A real Apache Kafka for tests: one JVM, KRaft, free loopback ports, its data in a temporary
//! folder.
//!
//! The jars come from Maven Central, once, into `target/kafka-VERSION`. Java or Maven missing is an
//! error that says what to install, never a skipped test. Ends the process that it started, by its
//! id, when dropped.
//!
//! Over 480 lines: one broker's life, from its jars to its kill; each step is a few lines and is
//! read in order.

use crate::proxy::Proxy;
use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The broker that is tested against.
pub const VERSION: &str = "4.1.1";

/// What to do where Java or Maven does not run.
const REMEDY: &str =
    "tests against real Kafka need Java 17 and Maven: apt-get install maven default-jre-headless";

/// How long a broker may take to start.
const START: Duration = Duration::from_secs(60);

/// A running broker.
pub struct Kafka {
    process: Option<Child>,
    port: u16,
    /// Port of those who have to say who they are; 0: nobody has.
    secured: u16,
    folder: PathBuf,
    jars: PathBuf,
    /// What stands between the broker and those who come by the address that it advertises for
    /// them.
    proxy: Option<Proxy>,
    /// Removed with the broker.
    _temporary: Option<TempDir>,
}

/// What listeners a broker has beside the plain one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Proxied,
    Secured,
}

impl Kafka {
    /// Starts a broker and waits until it answers.
    ///
    /// # Errors
    /// Says what is missing, or shows the end of the broker's log.
    pub fn start() -> Result<Kafka> {
        let temporary = tempfile::Builder::new().prefix("kafka").tempdir()?;
        Kafka::open(temporary.path().to_owned(), Some(temporary), Way::Plain)
    }

    /// As `start`, with a second listener at [`Kafka::secured_at`] that asks for a password, and
    /// rights to everything.
    ///
    /// # Errors
    /// As `start`.
    pub fn secured() -> Result<Kafka> {
        let temporary = tempfile::Builder::new().prefix("kafka").tempdir()?;
        Kafka::open(temporary.path().to_owned(), Some(temporary), Way::Secured)
    }

    /// As `start`, with a proxy that clients of [`Kafka::link`]'s address pass: the broker tells
    /// them no other.
    ///
    /// # Errors
    /// As `start`.
    pub fn behind_proxy() -> Result<Kafka> {
        let temporary = tempfile::Builder::new().prefix("kafka").tempdir()?;
        Kafka::open(temporary.path().to_owned(), Some(temporary), Way::Proxied)
    }

    /// Starts a broker whose data stays in `folder` when it ends; topics that are there are served
    /// again.
    ///
    /// # Errors
    /// As `start`.
    pub fn keep(folder: &Path) -> Result<Kafka> {
        fs::create_dir_all(folder)?;
        Kafka::open(folder.to_owned(), None, Way::Plain)
    }

    fn open(folder: PathBuf, temporary: Option<TempDir>, way: Way) -> Result<Kafka> {
        let mut kafka = Kafka {
            process: None,
            port: 0,
            secured: 0,
            folder,
            jars: jars()?,
            proxy: None,
            _temporary: temporary,
        };
        match fs::read_to_string(kafka.folder.join("port")) {
            Ok(port) => kafka.port = port.trim().parse()?,
            Err(_) => kafka.format(way)?,
        }
        kafka.run()?;
        Ok(kafka)
    }

    fn format(&mut self, way: Way) -> Result<()> {
        // all are held until all are known, so that they differ
        let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
        let held = held.into_iter().collect::<std::io::Result<Vec<_>>>()?;
        let ports =
            held.iter().map(|held| Ok(held.local_addr()?.port())).collect::<Result<Vec<_>>>()?;
        drop(held);
        self.port = ports[0];
        let mut properties = properties(ports[0], ports[1], &self.folder.join("data"));
        if way == Way::Secured {
            self.secured = ports[2];
            properties = secured(&properties, ports[2]);
        }
        if way == Way::Proxied {
            let proxy = Proxy::start(&format!("127.0.0.1:{}", ports[2]), &[])?;
            properties = behind(&properties, ports[2], &proxy.at());
            self.proxy = Some(proxy);
        }
        fs::write(self.folder.join("server.properties"), properties)?;
        fs::write(self.folder.join("log4j2.properties"), LOGGING)?;
        // 16 bytes in base64, as its own tool makes them, which takes a start of Java: the random
        // end of a UUID is letters of base64 too.
        let id = format!("{}AA", &uuid::Uuid::now_v7().simple().to_string()[12..]);
        let format = self
            .tool("kafka.tools.StorageTool")
            .args(["format", "-t", &id, "-c"])
            .arg(self.folder.join("server.properties"))
            .output()
            .context(REMEDY)?;
        ensure!(
            format.status.success(),
            "Kafka's storage was not formatted: {}{}",
            String::from_utf8_lossy(&format.stdout),
            String::from_utf8_lossy(&format.stderr)
        );
        Ok(fs::write(self.folder.join("port"), self.port.to_string())?)
    }

    /// What clients connect to.
    #[must_use]
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The proxy; its address is what clients connect to that are to pass it.
    #[must_use]
    pub fn link(&self) -> Option<&Proxy> {
        self.proxy.as_ref()
    }

    /// Process id of the broker, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Ends the broker as a crash would.
    ///
    /// # Errors
    /// When it could not be ended.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Kills the broker and starts it again on the same data and port.
    ///
    /// # Errors
    /// As `start`.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.run()
    }

    /// Creates a topic; further settings as Kafka names them.
    ///
    /// # Errors
    /// What the broker said.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<()> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (name, value) in settings {
            topic = topic.set(name, value);
        }
        let created = wait(self.admin()?.create_topics(
            [&topic],
            &AdminOptions::new().operation_timeout(Some(Duration::from_secs(10))),
        ))?;
        match created.into_iter().next() {
            Some(Ok(_)) => self.leaders(name, partitions),
            Some(Err((_, reason))) => bail!("topic {name} was not created: {reason}"),
            None => bail!("topic {name}: no answer"),
        }
    }

    /// Changes the settings of a topic: those that are not named become the broker's.
    ///
    /// # Errors
    /// What the broker said.
    pub fn alter_topic(&self, name: &str, settings: &[(&str, &str)]) -> Result<()> {
        let mut altered = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (setting, value) in settings {
            altered = altered.set(setting, value);
        }
        wait(self.admin()?.alter_configs([&altered], &AdminOptions::new()))?;
        Ok(())
    }

    /// Deletes a topic and waits until nothing is left of it.
    ///
    /// # Errors
    /// What the broker said.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        let deleted = wait(self.admin()?.delete_topics(&[name], &options))?;
        if let Some(Err((_, reason))) = deleted.into_iter().next() {
            bail!("topic {name} was not deleted: {reason}");
        }
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.brokers()).create()?;
        let started = Instant::now();
        while started.elapsed() < START {
            let metadata = client.fetch_metadata(Some(name), Duration::from_secs(2))?;
            if metadata.topics().iter().all(|topic| topic.error().is_some()) {
                return Ok(());
            }
            client.poll(Duration::from_millis(20));
        }
        bail!("topic {name} is still there after {START:?}")
    }

    /// Raises a topic's number of partitions.
    ///
    /// # Errors
    /// What the broker said.
    pub fn add_partitions(&self, topic: &str, partitions: i32) -> Result<()> {
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        let raised = wait(
            self.admin()?
                .create_partitions(&[NewPartitions::new(topic, partitions as usize)], &options),
        )?;
        match raised.into_iter().next() {
            Some(Ok(_)) => self.leaders(topic, partitions),
            Some(Err((_, reason))) => bail!("topic {topic} got no more partitions: {reason}"),
            None => bail!("topic {topic}: no answer"),
        }
    }

    /// Removes the records of a partition before `offset`, as retention would.
    ///
    /// # Errors
    /// What the broker said.
    pub fn delete_before(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        let deleted = wait(self.admin()?.delete_records(
            &list,
            &AdminOptions::new().operation_timeout(Some(Duration::from_secs(10))),
        ))?;
        for element in deleted.elements() {
            element.error()?;
        }
        Ok(())
    }

    /// Writes payloads to a partition, acknowledged when it returns.
    ///
    /// # Errors
    /// What the broker said.
    pub fn produce(&self, topic: &str, partition: i32, payloads: &[Vec<u8>]) -> Result<()> {
        self.send(&self.producer(&[])?, topic, partition, payloads)
    }

    /// As `produce`, in a transaction that is committed or aborted: each takes an offset for its
    /// marker.
    ///
    /// # Errors
    /// What the broker said.
    pub fn produce_in_transaction(
        &self,
        topic: &str,
        partition: i32,
        payloads: &[Vec<u8>],
        commit: bool,
    ) -> Result<()> {
        let producer = self.producer(&[("transactional.id", "tests")])?;
        let limit = Duration::from_secs(20);
        producer.init_transactions(limit)?;
        producer.begin_transaction()?;
        self.send(&producer, topic, partition, payloads)?;
        Ok(if commit {
            producer.commit_transaction(limit)
        } else {
            producer.abort_transaction(limit)
        }?)
    }

    /// Writes a record with so many headers.
    ///
    /// # Errors
    /// What the broker said.
    pub fn produce_with_headers(
        &self,
        topic: &str,
        partition: i32,
        payload: &[u8],
        headers: usize,
    ) -> Result<()> {
        let values: Vec<String> = (0..headers).map(|n| n.to_string()).collect();
        let headers: Vec<(&str, &str)> = values.iter().map(|value| ("h", value.as_str())).collect();
        self.produce_under(topic, partition, payload, &headers)
    }

    /// Writes a record with these headers.
    ///
    /// # Errors
    /// What the broker said.
    pub fn produce_under(
        &self,
        topic: &str,
        partition: i32,
        payload: &[u8],
        headers: &[(&str, &str)],
    ) -> Result<()> {
        let producer = self.producer(&[])?;
        let none = OwnedHeaders::new_with_capacity(headers.len());
        let all = headers
            .iter()
            .fold(none, |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
        let record =
            BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(payload).headers(all);
        producer.send(record).map_err(|(reason, _)| reason)?;
        Ok(producer.flush(Duration::from_secs(30))?)
    }

    /// Writes a record without a payload.
    ///
    /// # Errors
    /// What the broker said.
    pub fn tombstone(&self, topic: &str, partition: i32) -> Result<()> {
        let producer = self.producer(&[])?;
        let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).key(b"1");
        producer.send(record).map_err(|(reason, _)| reason)?;
        Ok(producer.flush(Duration::from_secs(30))?)
    }

    /// The position after everything in a topic: of use where each partition ends with a record,
    /// not with a marker.
    ///
    /// # Errors
    /// What the broker said.
    pub fn position(&self, topic: &str, partitions: i32) -> Result<String> {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.brokers()).create()?;
        let end = |partition| {
            client.fetch_watermarks(topic, partition, Duration::from_secs(20)).map(|(_, end)| end)
        };
        let ends = (0..partitions).map(|partition| Ok(format!("{partition}:{}", end(partition)?)));
        Ok(ends.collect::<Result<Vec<_>>>()?.join(","))
    }

    /// Writes payloads in a transaction that stays open until the producer commits or aborts it.
    ///
    /// # Errors
    /// What the broker said.
    pub fn open_transaction(
        &self,
        topic: &str,
        partition: i32,
        payloads: &[Vec<u8>],
    ) -> Result<BaseProducer> {
        let producer = self.producer(&[("transactional.id", "open")])?;
        producer.init_transactions(Duration::from_secs(20))?;
        producer.begin_transaction()?;
        self.send(&producer, topic, partition, payloads)?;
        Ok(producer)
    }

    /// What a group has committed of a partition; negative: nothing.
    ///
    /// # Errors
    /// What the broker said.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Result<i64> {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            .set("group.id", group)
            .create()?;
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let found = client.committed_offsets(asked, Duration::from_secs(20))?;
        let offset = found.elements().first().map(|element| element.offset());
        Ok(offset.and_then(|offset| offset.to_raw()).unwrap_or(-1))
    }

    /// Gives the user `tally` of a secured broker a right, as the arguments of Kafka's own tool
    /// name it.
    ///
    /// # Errors
    /// What the tool said.
    pub fn grant(&self, rights: &[&str]) -> Result<()> {
        let granted = self
            .tool("org.apache.kafka.tools.AclCommand")
            .args([
                "--bootstrap-server",
                &self.brokers(),
                "--add",
                "--allow-principal",
                "User:tally",
            ])
            .args(rights)
            .output()?;
        ensure!(
            granted.status.success(),
            "{rights:?} were not granted: {}{}",
            String::from_utf8_lossy(&granted.stdout),
            String::from_utf8_lossy(&granted.stderr)
        );
        Ok(())
    }

    /// Where a secured broker lets in the user `tally` with the password `right`, who has no rights
    /// but those that were granted.
    #[must_use]
    pub fn secured_at(&self) -> String {
        format!("127.0.0.1:{}", self.secured)
    }

    fn producer(&self, settings: &[(&str, &str)]) -> Result<BaseProducer> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.brokers())
            .set("linger.ms", "1")
            .set("message.timeout.ms", "20000")
            .set("enable.idempotence", "true");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        Ok(config.create()?)
    }

    fn send(
        &self,
        producer: &BaseProducer,
        topic: &str,
        partition: i32,
        payloads: &[Vec<u8>],
    ) -> Result<()> {
        for payload in payloads {
            let mut record =
                BaseRecord::<(), Vec<u8>>::to(topic).partition(partition).payload(payload);
            while let Err((reason, back)) = producer.send(record) {
                ensure!(
                    reason.rdkafka_error_code()
                        == Some(rdkafka::types::RDKafkaErrorCode::QueueFull),
                    "not sent: {reason}"
                );
                producer.poll(Duration::from_millis(10));
                record = back;
            }
        }
        Ok(producer.flush(Duration::from_secs(30))?)
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        Ok(ClientConfig::new().set("bootstrap.servers", self.brokers()).create()?)
    }

    /// Waits until each partition has a leader.
    fn leaders(&self, topic: &str, partitions: i32) -> Result<()> {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.brokers()).create()?;
        let started = Instant::now();
        while started.elapsed() < START {
            let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(2));
            let led = metadata.is_ok_and(|metadata| {
                metadata.topics().iter().any(|topic| {
                    topic.error().is_none()
                        && topic
                            .partitions()
                            .iter()
                            .filter(|partition| partition.leader() >= 0)
                            .count()
                            == partitions as usize
                })
            });
            if led {
                return Ok(());
            }
            client.poll(Duration::from_millis(50));
        }
        bail!("topic {topic} has no leaders after {START:?}")
    }

    /// A program of Kafka's that is over before better code for it would be there.
    fn tool(&self, class: &str) -> Command {
        self.java(class, &["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
    }

    fn java(&self, class: &str, options: &[&str]) -> Command {
        let folder = &self.folder;
        let mut java = Command::new("java");
        java.args(["-Xms256m", "-Xmx512m"])
            .args(options)
            .arg(format!(
                "-Dlog4j2.configurationFile=file:{}",
                folder.join("log4j2.properties").display()
            ))
            .arg(format!("-Dkafka.logs.dir={}", folder.join("logs").display()))
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(class);
        java
    }

    fn run(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.join("kafka.log"))?;
        let mut java = self.java("kafka.Kafka", &["-XX:+UseG1GC"]);
        java.arg(self.folder.join("server.properties"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.process = Some(java.spawn().context(REMEDY)?);
        let started = Instant::now();
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            .set("reconnect.backoff.max.ms", "200")
            .set("log_level", "0")
            .create()?;
        while client.fetch_metadata(None, Duration::from_millis(500)).is_err() {
            let ended = self.process.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                bail!("Kafka ended ({status}):\n{}", self.log());
            }
            ensure!(
                started.elapsed() < START,
                "Kafka does not answer after {START:?}:\n{}",
                self.log()
            );
        }
        Ok(())
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.join("kafka.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // its data goes with it: there is nothing to end gently
        let _ = self.kill();
    }
}

/// The broker's jars, fetched by the first who needs them.
fn jars() -> Result<PathBuf> {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _one = FETCHING.lock();
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let folder = target.join(format!("kafka-{VERSION}"));
    // Named after what it holds, so that more is fetched when more is needed.
    let (jars, complete) = (folder.join("lib"), folder.join("complete-with-tools"));
    fs::create_dir_all(&folder)?;
    // other test processes wait here
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    if !complete.exists() {
        fs::write(folder.join("pom.xml"), POM)?;
        let maven = Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(folder.join("pom.xml"))
            .arg("org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies")
            .args([
                "-DincludeScope=runtime".into(),
                format!("-DoutputDirectory={}", jars.display()),
            ])
            .output()
            .context(REMEDY)?;
        ensure!(
            maven.status.success(),
            "Maven did not fetch Kafka {VERSION} (it needs Maven Central once): {}",
            String::from_utf8_lossy(&maven.stdout)
        );
        fs::write(complete, VERSION)?;
    }
    Ok(jars)
}

fn wait<T, E: std::error::Error + Send + Sync + 'static>(
    future: impl Future<Output = Result<T, E>>,
) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await })??)
}

fn properties(port: u16, controller: u16, data: &Path) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
min.insync.replicas=1
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=200
group.consumer.heartbeat.interval.ms=300
group.consumer.session.timeout.ms=6000
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
num.network.threads=2
num.io.threads=4
log.segment.bytes=134217728
",
        data.display()
    )
}

/// A second listener, which tells clients to come by `advertised`.
fn behind(properties: &str, port: u16, advertised: &str) -> String {
    let add = [
        ("\nlisteners=", format!("PROXIED://127.0.0.1:{port},")),
        ("\nadvertised.listeners=", format!("PROXIED://{advertised},")),
        ("\nlistener.security.protocol.map=", "PROXIED:PLAINTEXT,".to_owned()),
    ];
    add.iter().fold(properties.to_owned(), |text, (name, value)| {
        text.replacen(name, &format!("{name}{value}"), 1)
    })
}

/// A second listener, where `tally` has to give its password and has no rights by itself; who comes
/// by the first one may do all.
fn secured(properties: &str, port: u16) -> String {
    let add = [
        ("\nlisteners=", format!("SECURED://127.0.0.1:{port},")),
        ("\nadvertised.listeners=", format!("SECURED://127.0.0.1:{port},")),
        ("\nlistener.security.protocol.map=", "SECURED:SASL_PLAINTEXT,".to_owned()),
    ];
    let properties = add.iter().fold(properties.to_owned(), |text, (name, value)| {
        text.replacen(name, &format!("{name}{value}"), 1)
    });
    properties
        + "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
listener.name.secured.sasl.enabled.mechanisms=PLAIN
listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_tally=\"right\";
"
}

const LOGGING: &str = "appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
";

const POM: &str = r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tally.tests</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>4.1.1</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>4.1.1</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.24.3</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-1.2-api</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
"#;
