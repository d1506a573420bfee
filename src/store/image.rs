//! Imported images.

use super::error::StoreError;
use super::read::{Order, Read, record, records};
use super::schema::Table;
use super::tx::Tx;
use crate::domain::id::ImageId;
use crate::domain::image::Image;

/// Typed reads of images.
pub trait ImageReads: Read {
    /// One image.
    ///
    /// # Errors
    /// When the database or the record cannot be read.
    fn image(&self, id: &ImageId) -> Result<Option<Image>, StoreError> {
        record(self, Table::Images, id.as_str().as_bytes())
    }

    /// All images, newest import first.
    ///
    /// # Errors
    /// As above.
    fn images(&self) -> Result<Vec<Image>, StoreError> {
        let mut all: Vec<Image> = records(self, Table::Images, &[], Order::Ascending, usize::MAX)?;
        all.sort_by_key(|i| std::cmp::Reverse(i.imported_at));
        Ok(all)
    }
}

impl<T: Read + ?Sized> ImageReads for T {}

impl Tx<'_, '_> {
    /// Writes an image's record.
    ///
    /// # Errors
    /// When the database fails.
    pub fn save_image(&mut self, image: &Image) -> Result<(), StoreError> {
        self.put_record(Table::Images, image.id.as_str().as_bytes().to_vec(), image)
    }

    /// Removes an image's record; the file is the caller's matter.
    pub fn delete_image(&mut self, id: &ImageId) {
        self.remove(Table::Images, id.as_str().as_bytes().to_vec());
    }
}
