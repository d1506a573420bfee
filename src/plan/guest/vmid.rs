//! Which number a new guest gets. `/cluster/nextid` proposes and does not reserve (PVE 8.2 to 9.2), so the numbers of
//! installations that are under way are held in the database and passed in.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::domain::vmid::Vmid;

/// The lowest number of the range that is not reserved, not taken anywhere in the cluster and not held by another
/// installation; `None`: all are used up.
#[must_use]
pub fn choose(
    range: &RangeInclusive<Vmid>,
    reserved: &[Vmid],
    taken: &[Vmid],
    held: &[Vmid],
) -> Option<Vmid> {
    let used: BTreeSet<u32> = [reserved, taken, held].concat().into_iter().map(Vmid::get).collect();
    (range.start().get()..=range.end().get())
        .find(|number| !used.contains(number))
        .and_then(|number| Vmid::try_from(number).ok())
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    fn ids(numbers: &[u32]) -> Vec<Vmid> {
        numbers.iter().map(|n| Vmid::try_from(*n).unwrap()).collect()
    }

    fn range(first: u32, last: u32) -> RangeInclusive<Vmid> {
        Vmid::try_from(first).unwrap()..=Vmid::try_from(last).unwrap()
    }

    #[test]
    fn the_lowest_free_number_is_taken() {
        let of = |taken: &[u32], held: &[u32], reserved: &[u32]| {
            choose(&range(200, 204), &ids(reserved), &ids(taken), &ids(held)).map(Vmid::get)
        };
        assert_eq!(of(&[], &[], &[]), Some(200));
        assert_eq!(of(&[200], &[201], &[202]), Some(203));
        assert_eq!(of(&[199, 205], &[], &[]), Some(200));
        assert_eq!(of(&[200, 201, 202], &[203], &[204]), None);
    }

    #[test]
    fn a_range_without_end_is_no_work() {
        let all = Vmid::MIN..=Vmid::MAX;
        assert_eq!(choose(&all, &[], &ids(&[100, 101, 103]), &[]), Some(ids(&[102])[0]));
    }

    proptest! {
        #[test]
        fn a_given_number_is_in_the_range_and_free(
            first in 100u32..160,
            length in 0u32..60,
            reserved in prop::collection::vec(100u32..220, 0..60),
            taken in prop::collection::vec(100u32..220, 0..60),
            held in prop::collection::vec(100u32..220, 0..60),
        ) {
            let range = range(first, first + length);
            let used: Vec<u32> = [reserved.clone(), taken.clone(), held.clone()].concat();
            match choose(&range, &ids(&reserved), &ids(&taken), &ids(&held)) {
                Some(given) => {
                    prop_assert!(range.contains(&given));
                    prop_assert!(!used.contains(&given.get()));
                }
                None => prop_assert!((first..=first + length).all(|n| used.contains(&n))),
            }
        }
    }
}
