"""What a person may do with the studio, one class a subject, each method with its permission."""
