"""The benchmark menagerie: animated models under free licences, downloaded one by one and verified."""
