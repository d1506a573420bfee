//! `ironhatch host rebuild-many`: a review first, and with what it tells the rebuild.

use clap::Args;
use serde_json::{Value, json};

use super::Which;
use super::call::Call;
use super::client::ClientError;

/// Which hosts, and how.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "The first run only looks: it lists what would be erased, and tells what to add to begin.\n\nExample:\n  ironhatch host rebuild-many --all-matching --state failed --type lab\n  ironhatch host rebuild-many --all-matching --state failed --type lab --reviewed 3f9c… --confirm 'erase 12 machines' --wait"
)]
pub struct RebuildMany {
    /// Names or ids of hosts
    #[arg(value_name = "HOST", conflicts_with = "all_matching")]
    pub hosts: Vec<String>,
    /// All hosts that fit the filter; without one, every host
    #[arg(long, required_unless_present = "hosts")]
    pub all_matching: bool,
    /// The filter
    #[command(flatten)]
    pub which: Which,
    /// Image; the newest one when left out
    #[arg(long)]
    pub image: Option<String>,
    /// Remove dead nodes of the same names from the cluster first
    #[arg(long)]
    pub replace_node: bool,
    /// Most rebuilds at a time
    #[arg(long, value_name = "N")]
    pub at_once: Option<u32>,
    /// After so many failed rebuilds no other one begins
    #[arg(long, value_name = "N")]
    pub stop_after: Option<u32>,
    /// The review that is confirmed, as the first run told it
    #[arg(long, value_name = "TEXT", requires = "confirm")]
    pub reviewed: Option<String>,
    /// How many machines are erased, in the words of the review
    #[arg(long, value_name = "TEXT", requires = "reviewed")]
    pub confirm: Option<String>,
    /// Wait for the end and show the log
    #[arg(long)]
    pub wait: bool,
}

impl RebuildMany {
    pub(super) fn call(&self) -> Result<Call, ClientError> {
        let mut body = json!({ "image": self.image, "replace_node": self.replace_node });
        if self.all_matching {
            body["matching"] = self.which.body();
        } else if self.which.is_given() {
            let text = "a filter is for --all-matching; hosts were named".to_owned();
            return Err(ClientError::Usage(text));
        } else {
            body["hosts"] = json!(self.hosts);
        }
        let (Some(reviewed), Some(confirm)) = (&self.reviewed, &self.confirm) else {
            return Ok(Call::post("/api/bulk-rebuilds/review", body));
        };
        body["reviewed"] = json!(reviewed);
        body["confirm"] = json!(confirm);
        for (name, number) in [("at_once", self.at_once), ("stop_after", self.stop_after)] {
            if let Some(number) = number {
                body[name] = json!(number);
            }
        }
        Ok(Call::post("/api/bulk-rebuilds", body))
    }
}

impl Which {
    fn is_given(&self) -> bool {
        self.state.is_some() || self.server_type.is_some() || self.problem || self.search.is_some()
    }

    fn body(&self) -> Value {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        json!({
            "state": text(&self.state),
            "type": text(&self.server_type),
            "problem": self.problem,
            "q": text(&self.search),
        })
    }
}
