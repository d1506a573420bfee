//! How alike two words are, for "did you mean …?" in messages about unknown keys.

/// The known word that `given` was probably meant to be: at most a third of its letters differ.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    let given = plain(given);
    known
        .into_iter()
        .map(|word| (distance(&given, &plain(word)), word))
        .filter(|(d, word)| *d <= (word.len().max(given.len()) / 3).max(1))
        .min_by_key(|(d, _)| *d)
        .map(|(_, word)| word)
}

/// Edits (insert, delete, replace) between two words; long input is cut, it is only a hint.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(64).enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replaced = row.get(j).copied().unwrap_or(0) + usize::from(x != *y);
            let deleted = row.get(j + 1).copied().unwrap_or(0) + 1;
            let inserted = next.last().copied().unwrap_or(0) + 1;
            next.push(replaced.min(deleted).min(inserted));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_a_stranger_is_not() {
        let known = ["interface", "subnet", "enabled", "mode"];
        assert_eq!(nearest("interfcae", known), Some("interface"));
        assert_eq!(nearest("Sub-net", known), Some("subnet"));
        assert_eq!(nearest("enable", known), Some("enabled"));
        assert_eq!(nearest("password", known), None);
        assert_eq!(nearest("", known), None);
    }
}
