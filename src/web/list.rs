//! Pagination: one page of a longer list, and where the next one begins.

/// Which part of a list to read, counted from its top or from a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Rows on the page.
    pub limit: i64,
    /// Rows to pass over.
    pub skip: i64,
    /// What the texts of its rows may have together, in bytes. The first row is on the page in any case.
    pub bytes: i64,
}

impl Window {
    pub const fn first(limit: i64) -> Window {
        Window { limit, skip: 0, bytes: i64::MAX }
    }

    /// The window with as many of the rows as its bound on bytes has room for; `sizes` are those of the
    /// texts that a query read for it.
    #[must_use]
    pub fn fitting(self, sizes: impl Iterator<Item = i64>) -> Window {
        let fitting = sizes
            .scan(0_i64, |total, size| {
                *total = total.saturating_add(size);
                Some(*total)
            })
            .take_while(|total| *total <= self.bytes)
            .count();
        let fitting = i64::try_from(fitting).unwrap_or(i64::MAX).max(1);
        Window { limit: self.limit.min(fitting), ..self }
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
    fn a_window_ends_before_its_bound_on_bytes_but_not_before_its_first_row() {
        let window = Window { bytes: 10, ..Window::first(3) };
        let limit = |sizes: &[i64]| window.fitting(sizes.iter().copied()).limit;
        assert_eq!((limit(&[]), limit(&[11]), limit(&[11, 1])), (1, 1, 1));
        assert_eq!((limit(&[5, 5, 1]), limit(&[0, 10, 0]), limit(&[1; 9])), (2, 3, 3));
        assert_eq!(limit(&[10, i64::MAX]), 1);
    }

    #[test]
    fn a_page_has_a_next_one_only_where_a_row_is_left_over() {
        let page = |rows| ListPage::new(rows, Window::first(2), |row: &i64| row.to_string());
        assert_eq!(page(vec![]).next, None);
        assert_eq!(page(vec![1, 2]).next, None);
        let full = page(vec![1, 2, 3]);
        assert_eq!((full.rows, full.next.as_deref()), (vec![1, 2], Some("2")));
    }
}
