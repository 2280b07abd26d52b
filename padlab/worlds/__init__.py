"""Small worlds in which the true quality of every response is known; they import nothing of padlab."""
