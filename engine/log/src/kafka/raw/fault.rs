//! What librdkafka reports: a fault, and of which kind its number is.
//!
//! Nothing here is unsafe, and nothing decides: what a fault means to people is in `errors`.

use super::objects::describe;
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use tally_system::outage::Cause;

/// A fault that librdkafka reports.
#[derive(Debug)]
pub(in crate::kafka) struct Fault {
    pub(in crate::kafka) kind: Kind,
    pub(in crate::kafka) text: String,
    pub(in crate::kafka) partition: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Kind {
    /// A start offset that the broker does not hold.
    OutOfRange,
    /// The client is dead.
    Fatal,
    /// A record, or the batch that it was sent in, is larger than client or broker takes.
    TooLarge,
    /// Something stands between us and the brokers; of a missing right, on what.
    Outage(Cause, Option<Right>),
}

/// On what a right is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka) enum Right {
    Topic,
    Group,
    Cluster,
}

/// A fault by its number in librdkafka.
pub(in crate::kafka) fn fault_of(code: i32) -> Fault {
    Fault::of(Code::try_from(code).unwrap_or(Code::RD_KAFKA_RESP_ERR_UNKNOWN))
}

impl Fault {
    pub(super) fn of(code: Code) -> Fault {
        Fault { kind: kind(code), text: describe(code), partition: None }
    }
}

/// The result that a number stands for.
pub(super) fn checked(code: Code) -> Result<(), Fault> {
    match code {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(Fault::of(code)),
    }
}

/// The kind of a fault by its number.
pub(super) fn kind(code: Code) -> Kind {
    use Code as E;
    let cause = match code {
        E::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
        | E::RD_KAFKA_RESP_ERR__LOG_TRUNCATION
        | E::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => return Kind::OutOfRange,
        E::RD_KAFKA_RESP_ERR__FATAL => return Kind::Fatal,
        E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE | E::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE => {
            return Kind::TooLarge;
        }
        E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => {
            return Kind::Outage(Cause::Authorization, Some(Right::Topic));
        }
        E::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED => {
            return Kind::Outage(Cause::Authorization, Some(Right::Group));
        }
        E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
        | E::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | E::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_AUTHORIZATION_FAILED => {
            return Kind::Outage(Cause::Authorization, Some(Right::Cluster));
        }
        E::RD_KAFKA_RESP_ERR__AUTHENTICATION
        | E::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
        | E::RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM
        | E::RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE => Cause::Authentication,
        E::RD_KAFKA_RESP_ERR__SSL => Cause::Tls,
        E::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
        | E::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION => Cause::Missing,
        E::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        | E::RD_KAFKA_RESP_ERR__TRANSPORT
        | E::RD_KAFKA_RESP_ERR__RESOLVE
        | E::RD_KAFKA_RESP_ERR__TIMED_OUT
        | E::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE
        | E::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT
        | E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT => Cause::Network,
        E::RD_KAFKA_RESP_ERR__INVALID_ARG
        | E::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
        | E::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION
        | E::RD_KAFKA_RESP_ERR_UNSUPPORTED_ASSIGNOR
        | E::RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL
        | E::RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT
        | E::RD_KAFKA_RESP_ERR_INVALID_CONFIG
        | E::RD_KAFKA_RESP_ERR_INVALID_RECORD
        | E::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS
        | E::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP
        | E::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION
        | E::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE
        | E::RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT
        | E::RD_KAFKA_RESP_ERR_POLICY_VIOLATION
        | E::RD_KAFKA_RESP_ERR_SECURITY_DISABLED => Cause::Misconfigured,
        E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
        | E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
        | E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS
        | E::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
        | E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR
        | E::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS
        | E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS
        | E::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE => Cause::Passing,
        _ => Cause::Unclear,
    };
    Kind::Outage(cause, None)
}
