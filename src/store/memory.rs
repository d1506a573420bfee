//! What follows the commits beside the database: the tables in memory, and what waits for a write to be kept.

use super::directory::Directory;
use super::error::StoreError;
use super::host::HostReads as _;
use super::read::Snapshot;
use super::roster::{self, Roster};
use super::tx::{Tx, WhenKept};
use crate::domain::boot::Standing;
use crate::domain::mac::Mac;

/// What is kept in memory beside the database; it follows the commits.
#[derive(Debug, Default)]
pub(super) struct Memory {
    directory: Directory,
    roster: Roster,
}

/// What a commit changes in it, and what is done then.
#[derive(Default)]
pub(super) struct Changes {
    standings: Vec<(Mac, Standing)>,
    places: Vec<roster::Change>,
    kept: Vec<WhenKept>,
}

impl Memory {
    pub(super) fn load(&self, from: &Snapshot) -> Result<(), StoreError> {
        let hosts = from.hosts()?;
        self.roster.load(&hosts);
        self.directory.load(from, &hosts)
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// After the commit.
    pub(super) fn publish(&self, changes: Changes) {
        let Changes { standings, places, kept } = changes;
        self.roster.publish(&places);
        self.directory.publish(standings);
        for when_kept in kept {
            when_kept();
        }
    }
}

impl Changes {
    pub(super) fn add(&mut self, tx: &mut Tx<'_, '_>) -> Result<(), StoreError> {
        self.standings.extend(Directory::changes(tx, &tx.touched)?);
        self.places.extend(Roster::changes(tx, &tx.moved)?);
        self.kept.append(&mut tx.kept);
        Ok(())
    }
}
