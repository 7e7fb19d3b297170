"""HTTP routes beside the page: outputs by id, and health. No page in here (that is
studio.web.ui)."""
