//! What one machine and its operator were told, written down as it happened: the judge holds the daemon to it.

/// One time that the operator asked for a rebuild and was told that it begins.
#[derive(Debug, Default)]
pub(crate) struct Arming {
    pub(crate) job: String,
    /// The install token, once the machine saw it.
    pub(crate) token: Option<String>,
    /// Answers that left the building for this token, also those that the machine never got.
    pub(crate) answers: usize,
    /// Requests for a script, a boot file or an answer that began after an answer had left, and were granted all the same.
    pub(crate) granted_after: Vec<String>,
    /// States that were promised by an acknowledgement.
    pub(crate) promised: Vec<&'static str>,
    /// The operator was told that it will be cancelled.
    pub(crate) cancelled: bool,
    /// How it ended, as the harness saw it.
    pub(crate) ended: Option<String>,
}

/// One machine's story.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) armings: Vec<Arming>,
    /// It ended as a member of the cluster, by the cluster's own account.
    pub(crate) is_member: bool,
    pub(crate) reasons: Vec<String>,
    pub(crate) wrong: Vec<String>,
    /// How long it took, in milliseconds.
    pub(crate) took_ms: u128,
    /// Strikes and troubles, for whoever reads a failure.
    pub(crate) plan: String,
}

impl Ledger {
    pub(crate) fn complain(&mut self, text: String) {
        self.wrong.push(text);
    }

    pub(crate) fn arming(&mut self) -> Option<&mut Arming> {
        self.armings.last_mut()
    }
}
