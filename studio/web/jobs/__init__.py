"""Work that outlasts one HTTP answer: queues, and the jobs of page and REST layer."""
