//! Server types in the form that pages and API need, as they are reloaded.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::reload::ServerTypesView;
use crate::web::ServerTypeList;

pub(super) fn list_of(view: &ServerTypesView) -> ServerTypeList {
    ServerTypeList {
        types: view.types.values().cloned().collect(),
        errors: view.errors.values().flatten().map(ToString::to_string).collect(),
    }
}

pub(super) async fn follow(
    mut view: watch::Receiver<Arc<ServerTypesView>>,
    list: watch::Sender<Arc<ServerTypeList>>,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        let now = list_of(&view.borrow_and_update());
        list.send_replace(Arc::new(now));
    }
}
