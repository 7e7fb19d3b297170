"""The page: Gradio tabs for making and verifying, mounted over the routes of studio.web.api."""
