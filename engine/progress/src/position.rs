//! How far something is, over all partitions.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Per partition, the offset after the last record counted. Text form: `0:1204,1:998`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position(pub BTreeMap<u32, u64>);

impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (partition, offset)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(out, "{comma}{partition}:{offset}")?;
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut position = BTreeMap::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let fault = || format!("\"{part}\" is not PARTITION:OFFSET");
            let (partition, offset) = part.split_once(':').ok_or_else(fault)?;
            let partition = partition.parse().map_err(|_| fault())?;
            if position.insert(partition, offset.parse().map_err(|_| fault())?).is_some() {
                return Err(format!("partition {partition} is named twice"));
            }
        }
        Ok(Position(position))
    }
}

impl Position {
    /// Per partition the furthest of several.
    pub fn furthest(positions: impl Iterator<Item = Position>) -> Position {
        let mut all = Position::default();
        for (partition, offset) in positions.flat_map(|position| position.0) {
            let furthest = all.0.entry(partition).or_default();
            *furthest = (*furthest).max(offset);
        }
        all
    }

    /// Whether every partition that `other` names stands at least there.
    #[must_use]
    pub fn reaches(&self, other: &Position) -> bool {
        other
            .0
            .iter()
            .all(|(partition, offset)| self.0.get(partition).copied().unwrap_or(0) >= *offset)
    }
}
