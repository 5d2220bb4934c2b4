//! What it means for a record that client or broker did not take it: a table of error codes. Pure.
//!
//! Whether a record is certainly not in the log is not the code's to say: a code tells of the last
//! attempt alone, and librdkafka of all of them. `producer` decides what becomes of a call.

use crate::AppendError;
use rdkafka::error::RDKafkaErrorCode as Code;

/// What became of a record that was not acknowledged; of several, the last says most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WriteFailure {
    /// It is not in the log: it, or the batch that it was sent in, is larger than is taken.
    TooLarge,
    /// It is not in the log, because another record of its batch is refused.
    Beside,
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
        return WriteFailure::InDoubt;
    }
    match code {
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => WriteFailure::TooLarge,
        Code::InvalidDifferentRecord => WriteFailure::Beside,
        // The record itself, or our clock, which is its timestamp.
        Code::InvalidRecord | Code::InvalidTimestamp => WriteFailure::Refused,
        // A right that is missing.
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::DelegationTokenAuthorizationFailed
        | Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::SecurityDisabled => WriteFailure::Refused,
        // The topic, which is not there or cannot be.
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::UnknownPartition
        | Code::InvalidTopic => WriteFailure::Refused,
        // A setting of ours or of the broker's.
        Code::PolicyViolation
        | Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidRequiredAcks
        | Code::UnsupportedCompressionType
        | Code::UnsupportedFeature
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedVersion => WriteFailure::Refused,
        _ => WriteFailure::Unavailable,
    }
}

impl WriteFailure {
    /// The error of a call of which this is the worst, with the text for people.
    pub(super) fn error(self, what: String) -> AppendError {
        match self {
            WriteFailure::TooLarge | WriteFailure::Refused => AppendError::Refused(what),
            WriteFailure::Beside | WriteFailure::Unavailable => AppendError::Unavailable(what),
            WriteFailure::InDoubt => AppendError::InDoubt(what),
        }
    }

    /// The end of a sentence about the records that were not acknowledged.
    pub(super) fn consequence(self) -> &'static str {
        match self {
            WriteFailure::TooLarge | WriteFailure::Refused => {
                "they are not in the log, and are refused again until that is changed"
            }
            WriteFailure::Beside | WriteFailure::Unavailable => {
                "they are not in the log; send them again"
            }
            WriteFailure::InDoubt => {
                "they may or may not be in the log; send them again with the same event_id"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each code comes to where the record is certainly not in the log.
    const TABLE: &[(Code, WriteFailure)] = &[
        (Code::MessageSizeTooLarge, WriteFailure::TooLarge),
        (Code::MessageBatchTooLarge, WriteFailure::TooLarge),
        (Code::InvalidDifferentRecord, WriteFailure::Beside),
        (Code::InvalidRecord, WriteFailure::Refused),
        (Code::InvalidTimestamp, WriteFailure::Refused),
        (Code::TopicAuthorizationFailed, WriteFailure::Refused),
        (Code::ClusterAuthorizationFailed, WriteFailure::Refused),
        (Code::UnknownTopic, WriteFailure::Refused),
        (Code::UnknownTopicOrPartition, WriteFailure::Refused),
        (Code::UnknownPartition, WriteFailure::Refused),
        (Code::InvalidTopic, WriteFailure::Refused),
        (Code::PolicyViolation, WriteFailure::Refused),
        (Code::UnsupportedCompressionType, WriteFailure::Refused),
        (Code::QueueFull, WriteFailure::Unavailable),
        (Code::PurgeQueue, WriteFailure::Unavailable),
        (Code::MessageTimedOut, WriteFailure::Unavailable),
        (Code::LeaderNotAvailable, WriteFailure::Unavailable),
        (Code::NotLeaderForPartition, WriteFailure::Unavailable),
        (Code::NotEnoughReplicas, WriteFailure::Unavailable),
        (Code::KafkaStorageError, WriteFailure::Unavailable),
        (Code::BrokerTransportFailure, WriteFailure::Unavailable),
        (Code::AllBrokersDown, WriteFailure::Unavailable),
        (Code::Fatal, WriteFailure::Unavailable),
        (Code::Unknown, WriteFailure::Unavailable),
    ];

    #[test]
    fn a_code_says_whether_time_alone_can_change_the_answer() {
        for (code, expected) in TABLE {
            assert_eq!(write_failure(*code, true), *expected, "{code:?}");
            let error = expected.error(String::new());
            let lasts = matches!(expected, WriteFailure::TooLarge | WriteFailure::Refused);
            assert_eq!(error.retry_helps(), !lasts, "{code:?}");
        }
    }

    #[test]
    fn what_may_have_been_written_is_in_doubt_whatever_the_code() {
        for (code, _) in TABLE {
            assert_eq!(write_failure(*code, false), WriteFailure::InDoubt, "{code:?}");
        }
        assert!(matches!(WriteFailure::InDoubt.error(String::new()), AppendError::InDoubt(_)));
    }

    #[test]
    fn of_several_the_one_that_says_most_counts() {
        let order = [
            WriteFailure::TooLarge,
            WriteFailure::Beside,
            WriteFailure::Unavailable,
            WriteFailure::Refused,
            WriteFailure::InDoubt,
        ];
        assert!(order.is_sorted(), "{order:?}");
    }
}
