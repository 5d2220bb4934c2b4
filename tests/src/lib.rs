//! What black-box tests share.
pub mod certificate;
pub mod chaos;
pub mod client;
pub mod corpus;
pub mod day;
pub mod disk;
pub mod fleet;
pub mod kafka;
pub mod oracle;
pub mod points;
pub mod poison;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod rows;
pub mod tally;
