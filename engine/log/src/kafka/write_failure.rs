//! What it means for a record that client or broker did not take it. Asks nobody.
//!
//! Whether waiting mends a fault is said once, by its cause (`raw::Fault`, `connection_report`):
//! what a caller is told to do and the text for people come from the same one. Whether a record is
//! certainly not in the log is not the code's to say: a code tells of the last attempt alone, and
//! librdkafka of all of them. `producer` decides what becomes of a call.

use super::raw::{Kind, fault_of};
use crate::{AppendError, LogError};
use rdkafka::error::RDKafkaErrorCode as Code;

/// What became of a record that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteFailure {
    /// It is not in the log: it, or the batch that it was sent in, is larger than is taken.
    TooLarge,
    /// It is not in the log, because another record of its batch is refused.
    Beside,
    /// It failed by itself.
    Lost(Loss),
}

/// What that means for whoever sent it; of several, the last says most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Loss {
    /// It is not in the log, and may be taken later.
    Unavailable,
    /// It is not in the log, and is refused until somebody changes something.
    Refused,
    /// It may or may not be in the log.
    InDoubt,
}

/// By the code of the last attempt, and whether the record is certainly not in the log.
pub(super) fn write_failure(code: Code, is_unwritten: bool) -> WriteFailure {
    if !is_unwritten {
        return WriteFailure::Lost(Loss::InDoubt);
    }
    if code == Code::InvalidDifferentRecord {
        return WriteFailure::Beside;
    }
    match fault_of(code as i32).kind {
        Kind::TooLarge => WriteFailure::TooLarge,
        Kind::Outage(cause, _) if !cause.passes() => WriteFailure::Lost(Loss::Refused),
        Kind::Outage(..) | Kind::OutOfRange | Kind::Fatal => WriteFailure::Lost(Loss::Unavailable),
    }
}

/// Whether a client that was told this is of no more use: the brokers do not know its id, its epoch
/// or its place in the sequence of its batches, and refuse what else it sends.
pub(super) fn disowns(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidProducerEpoch
            | Code::InvalidProducerIdMapping
            | Code::UnknownProducerId
            | Code::OutOfOrderSequenceNumber
            | Code::ProducerFenced
            | Code::Fenced
    )
}

impl Loss {
    /// What it comes to by the error that explains it: what a client that waits only sees as no
    /// answer may be a refusal.
    pub(super) fn explained_by(self, why: &LogError) -> Loss {
        match self {
            Loss::Unavailable if !why.retry_helps() => Loss::Refused,
            loss => loss,
        }
    }

    /// The error of a call of which this is the worst, with the text for people.
    pub(super) fn error(self, what: String) -> AppendError {
        match self {
            Loss::Unavailable => AppendError::Unavailable(what),
            Loss::Refused => AppendError::Refused(what),
            Loss::InDoubt => AppendError::InDoubt(what),
        }
    }

    /// The end of a sentence about the records that were not acknowledged.
    pub(super) fn consequence(self) -> &'static str {
        match self {
            Loss::Unavailable => "they are not in the log; send them again",
            Loss::Refused => "they are not in the log, and are refused again until that is changed",
            Loss::InDoubt => {
                "they may or may not be in the log; send them again with the same event_id"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::errors::describe_writing;
    use tally_config::KafkaConfig;
    use tally_system::outage::Cause;

    const UNAVAILABLE: WriteFailure = WriteFailure::Lost(Loss::Unavailable);
    const REFUSED: WriteFailure = WriteFailure::Lost(Loss::Refused);

    /// What each code comes to where the record is certainly not in the log.
    const TABLE: &[(Code, WriteFailure)] = &[
        (Code::MessageSizeTooLarge, WriteFailure::TooLarge),
        (Code::MessageBatchTooLarge, WriteFailure::TooLarge),
        (Code::InvalidDifferentRecord, WriteFailure::Beside),
        // the record itself, or our clock, which is its timestamp
        (Code::InvalidRecord, REFUSED),
        (Code::InvalidTimestamp, REFUSED),
        // a right that is missing, or a user that is not believed
        (Code::TopicAuthorizationFailed, REFUSED),
        (Code::ClusterAuthorizationFailed, REFUSED),
        (Code::TransactionalIdAuthorizationFailed, REFUSED),
        (Code::DelegationTokenAuthorizationFailed, REFUSED),
        (Code::Authentication, REFUSED),
        (Code::SaslAuthenticationFailed, REFUSED),
        (Code::UnsupportedSASLMechanism, REFUSED),
        (Code::SecurityDisabled, REFUSED),
        (Code::SSL, REFUSED),
        // the topic, which is not there or cannot be
        (Code::UnknownTopic, REFUSED),
        (Code::UnknownTopicOrPartition, REFUSED),
        (Code::UnknownTopicId, REFUSED),
        (Code::UnknownPartition, REFUSED),
        (Code::InvalidTopic, REFUSED),
        // a setting of ours or of the broker's
        (Code::PolicyViolation, REFUSED),
        (Code::InvalidArgument, REFUSED),
        (Code::InvalidConfig, REFUSED),
        (Code::InvalidRequiredAcks, REFUSED),
        (Code::UnsupportedCompressionType, REFUSED),
        (Code::UnsupportedFeature, REFUSED),
        (Code::UnsupportedForMessageFormat, REFUSED),
        (Code::UnsupportedVersion, REFUSED),
        (Code::QueueFull, UNAVAILABLE),
        (Code::PurgeQueue, UNAVAILABLE),
        (Code::MessageTimedOut, UNAVAILABLE),
        (Code::LeaderNotAvailable, UNAVAILABLE),
        (Code::NotLeaderForPartition, UNAVAILABLE),
        (Code::NotEnoughReplicas, UNAVAILABLE),
        (Code::KafkaStorageError, UNAVAILABLE),
        (Code::BrokerTransportFailure, UNAVAILABLE),
        (Code::AllBrokersDown, UNAVAILABLE),
        (Code::InvalidProducerEpoch, UNAVAILABLE),
        (Code::Fatal, UNAVAILABLE),
        (Code::Unknown, UNAVAILABLE),
    ];

    #[test]
    fn a_code_says_whether_time_alone_can_change_the_answer() {
        for (code, expected) in TABLE {
            assert_eq!(write_failure(*code, true), *expected, "{code:?}");
        }
        for (loss, helps) in
            [(Loss::Unavailable, true), (Loss::Refused, false), (Loss::InDoubt, true)]
        {
            assert_eq!(loss.error(String::new()).retry_helps(), helps, "{loss:?}");
        }
    }

    #[test]
    fn the_text_for_people_says_the_same() {
        for (code, expected) in TABLE {
            let WriteFailure::Lost(loss) = expected else { continue };
            let why = describe_writing(&KafkaConfig::default(), &fault_of(*code as i32));
            assert_eq!(loss.explained_by(&why), *loss, "{code:?}");
            let lasts = why.to_string().contains("waiting does not fix this");
            assert_eq!(lasts, *loss == Loss::Refused, "{code:?}: {why}");
        }
    }

    #[test]
    fn what_only_times_out_is_refused_where_something_that_lasts_explains_it() {
        let by = |cause| LogError::Transient(cause, String::new());
        assert_eq!(Loss::Unavailable.explained_by(&by(Cause::Authentication)), Loss::Refused);
        assert_eq!(Loss::Unavailable.explained_by(&LogError::Fatal(String::new())), Loss::Refused);
        assert_eq!(Loss::Unavailable.explained_by(&by(Cause::Network)), Loss::Unavailable);
        assert_eq!(Loss::InDoubt.explained_by(&by(Cause::Authentication)), Loss::InDoubt);
    }

    #[test]
    fn what_may_have_been_written_is_in_doubt_whatever_the_code() {
        for (code, _) in TABLE {
            assert_eq!(write_failure(*code, false), WriteFailure::Lost(Loss::InDoubt), "{code:?}");
        }
    }

    #[test]
    fn a_client_is_disowned_by_what_is_wrong_with_it_and_not_with_a_record() {
        let disowning: Vec<Code> =
            TABLE.iter().map(|(code, _)| *code).filter(|code| disowns(*code)).collect();
        assert_eq!(disowning, [Code::InvalidProducerEpoch]);
        assert!(disowns(Code::UnknownProducerId) && disowns(Code::OutOfOrderSequenceNumber));
    }

    #[test]
    fn of_several_the_one_that_says_most_counts() {
        assert!([Loss::Unavailable, Loss::Refused, Loss::InDoubt].is_sorted());
    }
}
