//! A look at the cluster for `doctor`: what its API tells, and whether the configured member answers. Changes nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::engine::Engine;
use super::reach::{self, API_PORT, SSH_PORT};
use crate::config::Config;
use crate::domain::node::EnrolledNode;
use crate::domain::refusal::{Refusal, with_causes};
use crate::domain::time::Timestamp;
use crate::plan::doctor::facts::{Api, ApiFacts, ClusterFacts, ImageFacts, MemberFacts};
use crate::plan::enroll::rights::Rights;
use crate::pve::{Cluster, Permissions, PveError};
use crate::store::{EventReads as _, ImageReads as _, NodeReads as _};

/// Longest time for all questions to the API: a node that hangs must not hold up the other findings.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether the member that is configured answers; `None`: none is.
pub async fn configured_member(config: &Config) -> Option<MemberFacts> {
    let name = config.proxmox.existing_node.clone()?;
    let Ok(address) = name.parse::<IpAddr>() else {
        let why = "proxmox.existing_node must be an address".to_owned();
        return Some(MemberFacts { name, ssh: Some(why.clone()), api: Some(why) });
    };
    let (ssh, api) = tokio::join!(
        reach::refusal_of(SocketAddr::new(address, SSH_PORT)),
        reach::refusal_of(SocketAddr::new(address, API_PORT)),
    );
    Some(MemberFacts { name, ssh, api })
}

impl Engine {
    /// What can be told of the cluster.
    pub async fn look_at_cluster(&self) -> ClusterFacts {
        let member = configured_member(&self.context().config);
        let (member, api) = tokio::join!(member, self.look_at_api());
        ClusterFacts { member, api }
    }

    /// Images with whether each can be served.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn look_at_images(&self) -> Result<Vec<ImageFacts>, Refusal> {
        let images = self.store().read::<_, Refusal, _>(|r| Ok(r.images()?)).await?;
        let mut facts = Vec::new();
        for image in images {
            let unusable = self.open_image(&image).await.err().map(|refusal| refusal.detail);
            let release = image.release.version();
            facts.push(ImageFacts { id: image.id.to_string(), release, unusable });
        }
        Ok(facts)
    }

    /// When the newest event was written down.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest_record(&self) -> Result<Option<Timestamp>, Refusal> {
        self.store()
            .read::<_, Refusal, _>(|r| Ok(r.latest_events(1)?.first().map(|event| event.at)))
            .await
    }

    async fn look_at_api(&self) -> Option<Api> {
        self.layer().ok()?;
        let nodes = self.store().read::<_, Refusal, _>(|r| Ok(r.enrolled_nodes()?)).await;
        let nodes = match nodes {
            Ok(nodes) if nodes.is_empty() => return Some(Api::NoNode),
            Ok(nodes) => nodes,
            Err(refusal) => return Some(Api::Failed(refusal.detail)),
        };
        let asked = async {
            let cluster = self.cluster().await.map_err(|refusal| Api::Failed(refusal.detail))?;
            self.ask(&cluster, &nodes).await.map_err(|error| match error {
                PveError::Unauthenticated { .. } => Api::Refused(with_causes(&error)),
                error => Api::Failed(with_causes(&error)),
            })
        };
        Some(match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(told)) => Api::Told(Box::new(told)),
            Ok(Err(failed)) => failed,
            Err(_) => Api::Failed(format!("no answer within {} s", PATIENCE.as_secs())),
        })
    }

    async fn ask(&self, cluster: &Cluster, nodes: &[EnrolledNode]) -> Result<ApiFacts, PveError> {
        let version = cluster.version().await?;
        let statuses = cluster.cluster_nodes().await?;
        let permissions = cluster.permissions().await?;
        // A token without this right is told among the missing ones.
        let quorate = match cluster.is_quorate().await {
            Err(PveError::Forbidden { .. }) => None,
            told => told?,
        };
        let offline: Vec<String> =
            statuses.iter().filter(|s| !s.online).map(|s| s.name.clone()).collect();
        let mut clocks = Vec::new();
        for node in nodes.iter().filter(|node| !offline.contains(&node.name.to_string())) {
            let before = self.store().now();
            if let Ok(seconds) = cluster.clock(&node.name).await {
                let theirs = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000);
                let ours = (before.0 + self.store().now().0) / 2;
                // Their clock was cut to the second.
                clocks.push((node.name.to_string(), theirs.saturating_add(500) - ours));
            }
        }
        let problems = nodes.iter().filter(|node| !node.problem.is_empty());
        Ok(ApiFacts {
            release: Some(((version.major, version.minor), version.text.clone())),
            supported: version.is_supported(),
            quorate,
            offline,
            nodes: statuses.len(),
            missing_rights: self.missing_rights(&permissions),
            problems: problems.map(|n| format!("{}: {}", n.name, n.problem)).collect(),
            clocks,
        })
    }

    fn missing_rights(&self, held: &Permissions) -> Vec<String> {
        let Ok(layer) = self.layer() else { return Vec::new() };
        let missing =
            Rights::of(&layer.apps.boundary).missing(|path, right| held.allow(path, right));
        // A tag's own path is below its bridge, and needs the same.
        let unique: BTreeSet<String> =
            missing.into_iter().map(|(path, right)| format!("{right} on {path}")).collect();
        unique.into_iter().collect()
    }
}
