//! Pagination: one page of a longer list, and where the next one begins.

/// Which part of a list to read, counted from its top or from a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Rows on the page.
    pub limit: i64,
    /// Rows to pass over.
    pub skip: i64,
}

impl Window {
    pub const fn first(limit: i64) -> Window {
        Window { limit, skip: 0 }
    }

    /// How many rows a query reads: one more than the page shows, which tells whether the list goes on.
    pub fn rows(self) -> i64 {
        self.limit + 1
    }
}

/// One page of a list.
#[derive(Debug)]
pub struct ListPage<T> {
    pub rows: Vec<T>,
    /// The cursor of the next page; `None` on the last.
    pub next: Option<String>,
}

impl<T> ListPage<T> {
    /// The page of `window`, from what a query read for it; `cursor` makes the cursor to the place after
    /// a row.
    pub fn new(mut rows: Vec<T>, window: Window, cursor: impl FnOnce(&T) -> String) -> ListPage<T> {
        let limit = usize::try_from(window.limit).unwrap_or(usize::MAX);
        let goes_on = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| goes_on).map(cursor);
        ListPage { rows, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_next_one_only_where_a_row_is_left_over() {
        let page = |rows| ListPage::new(rows, Window::first(2), |row: &i64| row.to_string());
        assert_eq!(page(vec![]).next, None);
        assert_eq!(page(vec![1, 2]).next, None);
        let full = page(vec![1, 2, 3]);
        assert_eq!((full.rows, full.next.as_deref()), (vec![1, 2], Some("2")));
    }
}
