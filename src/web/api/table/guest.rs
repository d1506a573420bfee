//! Routes of apps, guests and the nodes that hold them.

use super::Fields;
use crate::domain::app::CatalogApp;
use crate::domain::discovery::Review;
use crate::jobs::Vitals;
use crate::plan::guest::journal::Journal;
use crate::plan::guest::monitoring::TargetGroup;
use crate::web::api::route::Success::{Made, Nothing, Other};
use crate::web::api::route::{Routes, about};
use crate::web::api::{app, guest, node, system};

pub(super) fn guests() -> Routes {
    let apps = about("The catalog")
        .answer::<app::AppList<'_>>()
        .query("q", "only with these words")
        .query("category", "only of this category")
        .query("tag", "only with this tag");
    let list = about("Guests")
        .answer::<guest::GuestList<'_>>()
        .paged()
        .query("state", "only in this state")
        .query("node", "only on this node")
        .query("app", "only of this app");
    let journal = about("The guest's own journal")
        .answer::<Journal>()
        .query("lines", "how many")
        .query("unit", "only of this unit");
    Routes::default()
        .get("/api/apps", app::list, apps)
        .get(
            "/api/apps/schema.json",
            app::schema,
            about("The JSON Schema of manifests").answers(Other("application/schema+json")),
        )
        .post(
            "/api/apps/refresh",
            app::refresh,
            about("Reads the sources again")
                .body::<app::RefreshBody>()
                .starts_work()
                .answer::<app::Refreshing>(),
        )
        .get("/api/apps/{id}", app::show, about("One app with its manifest").answer::<CatalogApp>())
        .post(
            "/api/install",
            app::install,
            about("Installs an app: its id as `app`, and the form's fields")
                .body::<Fields>()
                .starts_work(),
        )
        .post(
            "/api/install/review",
            app::review,
            about("What an installation would do").body::<Fields>().answer::<Review>(),
        )
        .post(
            "/api/uninstall",
            guest::uninstall,
            about("Takes a guest away").body::<guest::UninstallBody>().starts_work(),
        )
        .get("/api/guests", guest::list, list)
        .post(
            "/api/guests/observe",
            guest::observe,
            about("Records a container that exists")
                .body::<guest::ObserveBody>()
                .answers(Made)
                .answer::<guest::GuestBody<'_>>(),
        )
        .get(
            "/api/kept-volumes",
            guest::kept_volumes,
            about("Volumes that guests left").paged().answer::<guest::KeptList<'_>>(),
        )
        .post(
            "/api/kept-volumes/{vmid}/forget",
            guest::forget_volumes,
            about("Frees the number that kept volumes hold")
                .body::<guest::ConfirmBody>()
                .answers(Nothing),
        )
        .get(
            "/api/guests/{id}",
            guest::show,
            about("One guest, by name or id").answer::<guest::GuestBody<'_>>(),
        )
        .delete(
            "/api/guests/{id}",
            guest::forget,
            about("Forgets a container that is only observed").answers(Nothing),
        )
        .get(
            "/api/guests/{id}/vitals",
            guest::vitals,
            about("Its load, memory and disk now").answer::<Vitals>(),
        )
        .get("/api/guests/{id}/logs", guest::logs, journal)
        .get(
            "/api/guests/{id}/backups",
            guest::backups,
            about("Its backups").answer::<guest::BackupList<'_>>(),
        )
        .post(
            "/api/guests/{id}/power",
            guest::power,
            about("Turns it on, off, or on again").body::<guest::PowerBody>().starts_work(),
        )
        .post(
            "/api/guests/{id}/backup",
            guest::backup,
            about("Backs it up").body::<guest::BackupBody>().starts_work(),
        )
        .post(
            "/api/guests/{id}/restore",
            guest::restore,
            about("Puts a backup in its place").body::<guest::RestoreBody>().starts_work(),
        )
        .post(
            "/api/guests/{id}/upgrade",
            guest::upgrade,
            about("Brings its app to the catalog's version").starts_work(),
        )
        .post(
            "/api/guests/{id}/return",
            guest::return_back,
            about("Takes it back to its restore point").starts_work(),
        )
        .post(
            "/api/guests/{id}/reconfigure",
            guest::reconfigure,
            about("Gives it other inputs or resources").body::<Fields>().starts_work(),
        )
        .post(
            "/api/guests/{id}/adopt",
            guest::adopt,
            about("Makes an observed container ours").body::<guest::ConfirmBody>().starts_work(),
        )
        .post(
            "/api/guests/{id}/publish",
            guest::publish,
            about("Publishes its service definition again").starts_work(),
        )
        .post(
            "/api/guests/{id}/retry",
            guest::retry,
            about("Tries a failed installation again").starts_work(),
        )
        .post(
            "/api/guests/{id}/reveal",
            guest::reveal,
            about("Tells a secret of its installation, once")
                .body::<guest::RevealBody>()
                .answer::<guest::Revealed<'_>>(),
        )
        .get(
            "/api/system/discovery",
            guest::discovery,
            about("Nodes, storages, bridges and GPUs as they are now")
                .answer::<guest::DiscoveryBody<'_>>(),
        )
}

pub(super) fn nodes() -> Routes {
    Routes::default()
        .get(
            "/api/nodes",
            node::list,
            about("Enrolled nodes").paged().answer::<node::NodeList<'_>>(),
        )
        .post(
            "/api/nodes/enroll",
            node::enroll,
            about("Enrols a node with its password or our key")
                .body::<node::EnrollBody>()
                .starts_work(),
        )
        .post(
            "/api/nodes/enroll-command",
            node::command,
            about("Makes a command that enrols the node it is pasted on")
                .answer::<node::EnrollCommand<'_>>(),
        )
        .post(
            "/api/nodes/{name}/revoke",
            node::revoke,
            about("Takes everything that enrolment made off a node").starts_work(),
        )
        .get(
            "/api/cluster",
            node::cluster,
            about("The cluster's members, and what disagrees; also without apps")
                .answer::<node::ClusterBody<'_>>(),
        )
        .get(
            "/api/cluster/key",
            system::cluster_key,
            about("The key that opens the members").answer::<system::ClusterKey>(),
        )
        .get(
            "/api/prometheus/targets",
            guest::targets,
            about("Monitored guests, for Prometheus' HTTP service discovery")
                .answer::<Vec<TargetGroup>>(),
        )
        .post(
            "/api/prometheus/token",
            node::reader_token,
            about("Makes the token of Prometheus; the one before ends")
                .answer::<node::ReaderToken<'_>>(),
        )
}
