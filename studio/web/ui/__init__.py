"""The page: Gradio tabs, mounted over the routes of studio.web.api."""
