"""What one person's machine needs to run Headwater whole: nothing here is part of the deployed application."""
