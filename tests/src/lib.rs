//! What black-box tests share.
pub mod chaos;
pub mod client;
pub mod corpus;
pub mod day;
pub mod fleet;
pub mod kafka;
pub mod oracle;
pub mod poison;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod tally;
