"""What people read: reference results, and the pages that are filled from them."""
