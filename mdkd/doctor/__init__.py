"""`mdkd doctor`: does this machine have what the plan needs? Nothing is changed."""
