//! What to know before choosing, in numbers that the records hold.

use super::claims::Claim;
use super::record::Record;

pub(crate) fn before_choosing(_claims: &[Claim], _records: &[Record]) -> String {
    String::new()
}
